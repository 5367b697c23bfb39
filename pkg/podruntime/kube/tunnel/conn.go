package tunnel

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"k8s.io/streaming/pkg/httpstream"
)

// maxFailure bounds what is read of a message from the node.
const maxFailure = 1 << 10

// conn is a connection through a tunnel.
type conn struct {
	session        httpstream.Connection
	carrier        net.Conn
	data, failures httpstream.Stream
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

func (c *conn) Write(p []byte) (int, error) { return c.data.Write(p) }

// Close ends the connection and everything beneath it.
func (c *conn) Close() error { return c.session.Close() }

func (c *conn) LocalAddr() net.Addr  { return c.carrier.LocalAddr() }
func (c *conn) RemoteAddr() net.Addr { return c.carrier.RemoteAddr() }

// SetWriteDeadline sets that of the connection beneath, which has one user only.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.carrier.SetWriteDeadline(t) }

// SetReadDeadline is not supported: a read ends with the connection.
func (c *conn) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetDeadline is not supported.
func (c *conn) SetDeadline(time.Time) error { return os.ErrNoDeadline }
