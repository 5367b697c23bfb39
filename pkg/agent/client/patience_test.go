package client

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"arl.io/arl/pkg/agent/wire"
)

// pipeListener is a listener whose connections are made by dial, in memory.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept returns the next connection.
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr returns an address that means nothing.
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// The last system gave up on every command after 30 seconds.
func TestAnExecutionMayTakeADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		posts := 0
		handler := func(w http.ResponseWriter, r *http.Request) {
			posts++
			encoder := json.NewEncoder(w)
			for begin := time.Now(); time.Since(begin) < day; time.Sleep(15 * time.Second) {
				_ = encoder.Encode(wire.Event{Type: wire.EventPing})
				_ = http.NewResponseController(w).Flush()
			}
			_ = encoder.Encode(finished)
		}
		c := newPiped(t, Config{}, http.HandlerFunc(handler))
		begin := time.Now()
		result, err := c.Run(t.Context(), wire.Execution{ID: "id"}, nil)
		if err != nil || result.State != wire.Succeeded || posts != 1 {
			t.Errorf("got %+v, %v after %d posts", result, err, posts)
		}
		if took := time.Since(begin); took < day {
			t.Errorf("it took %s", took)
		}
	})
}
