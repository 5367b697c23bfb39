package tunnel

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"k8s.io/streaming/pkg/httpstream"
)

// maxFailure bounds what is read of a message from the node.
const maxFailure = 1 << 10

// closeTimeout bounds the farewell of a connection that is closed.
const closeTimeout = time.Second

// conn is a connection through a tunnel.
type conn struct {
	session        httpstream.Connection
	carrier        net.Conn
	data, failures httpstream.Stream

	mu sync.Mutex
	// deadline closes the carrier when writes have taken too long.
	deadline *time.Timer
	// expired says that nothing may be written any more.
	expired bool
}

var _ net.Conn = (*conn)(nil)

// Read reads from the pod. If the node could not connect, the error says why.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.data.Read(p)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	// The node closes both streams, this one last if it has something to say.
	said, _ := io.ReadAll(io.LimitReader(c.failures, maxFailure))
	if text := strings.TrimSpace(string(said)); text != "" {
		return n, fmt.Errorf("the node says: %s", text)
	}
	return n, io.EOF
}

func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	expired := c.expired
	c.mu.Unlock()
	if expired {
		return 0, os.ErrDeadlineExceeded
	}
	return c.data.Write(p)
}

// Close ends the connection and everything beneath it.
func (c *conn) Close() error {
	c.setDeadline(time.Time{})
	// Saying goodbye is worth no wait for a peer that is gone.
	return errors.Join(c.carrier.SetWriteDeadline(time.Now().Add(closeTimeout)), c.session.Close())
}

func (c *conn) LocalAddr() net.Addr  { return c.carrier.LocalAddr() }
func (c *conn) RemoteAddr() net.Addr { return c.carrier.RemoteAddr() }

// SetWriteDeadline cuts the whole connection off if it is not set anew in time.
// It is not passed on: the carrier's encryption does not survive a write that was cut short,
// and the frames that end the session have yet to be written.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.setDeadline(t)
	return nil
}

func (c *conn) setDeadline(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deadline != nil {
		c.deadline.Stop()
		c.deadline = nil
	}
	left := time.Until(t)
	switch {
	case t.IsZero():
		c.expired = false
	case left <= 0:
		c.expired = true
	default:
		c.expired = false
		c.deadline = time.AfterFunc(left, func() { _ = c.carrier.Close() })
	}
}

// SetReadDeadline is not supported: a read ends with the connection.
func (c *conn) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetDeadline is not supported.
func (c *conn) SetDeadline(time.Time) error { return os.ErrNoDeadline }
