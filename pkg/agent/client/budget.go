package client

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// An agent may send so many frames that bring nothing new at once, and one more each idlePeriod:
	// pings, of which it sends one in 15 s a stream, and events that came before. The burst is for
	// a server that was suspended, and for an agent with 64 executions.
	idleBurst  = 256
	idlePeriod = time.Second
	// slowCost is what a large frame counts that does not arrive in time.
	slowCost = 64

	// An agent may send so many bytes at once beside the bodies of its answers, and so many more a
	// second and a request. HTTP/2 takes about 9 bytes a frame of a body, and TLS 22 a record; what
	// has arrived and was not read yet counts, too, until it is: up to connBuffer.
	overheadBurst   = 2 * connBuffer
	overheadSecond  = 2 << 10
	overheadRequest = 16 << 10
)

// bucket is a budget that fills up again. It is not safe for concurrent use.
type bucket struct {
	// most is what it holds when full, and rate what it gains a second.
	most, rate float64
	left       float64
	at         time.Time
}

func newBucket(most, rate float64) bucket {
	return bucket{most: most, rate: rate, left: most, at: time.Now()}
}

// add fills in what time has brought, and adds amount, which may be negative. It returns false if
// the budget is overdrawn.
func (b *bucket) add(amount float64) bool {
	now := time.Now()
	b.left = min(b.left+max(now.Sub(b.at).Seconds(), 0)*b.rate+amount, b.most)
	b.at = now
	return b.left >= 0
}

// budget is what one agent may send without having been asked. It is safe for concurrent use.
type budget struct {
	mu             sync.Mutex
	idle, overhead bucket
}

func newBudget() *budget {
	return &budget{
		idle:     newBucket(idleBurst, float64(time.Second)/float64(idlePeriod)),
		overhead: newBucket(overheadBurst, overheadSecond),
	}
}

// frame counts frames that bring nothing new.
func (b *budget) frame(count float64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.idle.add(-count) {
		return violation("more than %d pings and repeated events", idleBurst)
	}
	return nil
}

// received counts bytes of a connection, and asked and delivered what they are explained by.
func (b *budget) received(bytes int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.overhead.add(-float64(bytes)) {
		return violation("more than %d bytes beside what it was asked for", overheadBurst)
	}
	return nil
}

func (b *budget) asked() { b.explain(overheadRequest) }

func (b *budget) delivered(bytes int) { b.explain(2 * bytes) }

func (b *budget) explain(bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.overhead.add(float64(bytes))
}

// meter has the connections of a transport counted by the client's budget.
func (c *Client) meter(transport http.RoundTripper) {
	t, ok := transport.(*http.Transport)
	if !ok || t.DialContext == nil {
		return
	}
	dial := t.DialContext
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &meteredConn{Conn: conn, client: c}, nil
	}
}

// meteredConn is a connection whose bytes are counted. HTTP/2 lets a peer send frames that cost the
// reader time and bring nothing: pings, settings, padding.
type meteredConn struct {
	net.Conn
	client *Client
}

func (m *meteredConn) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	if over := m.client.budget.received(n); over != nil {
		return 0, m.client.broke(over)
	}
	return n, err
}

// meteredBody is the body of an answer, whose bytes were asked for.
type meteredBody struct {
	io.ReadCloser
	budget *budget
}

func (m *meteredBody) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	m.budget.delivered(n)
	return n, err
}
