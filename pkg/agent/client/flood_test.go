package client

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"arl.io/arl/pkg/agent/wire"
)

// frameOf returns a frame of HTTP/2, as RFC 9113 has it.
func frameOf(kind, flags byte, stream uint32, payload string) string {
	head := make([]byte, 9)
	binary.BigEndian.PutUint32(head, uint32(len(payload))<<8)
	head[3], head[4] = kind, flags
	binary.BigEndian.PutUint32(head[5:], stream)
	return string(head) + payload
}

// Types of frames.
const (
	dataFrame, headersFrame, settingsFrame, pushFrame, pingFrame, windowFrame, continuationFrame = 0, 1, 4, 5, 6, 8, 9
)

// floodAgent is an agent that speaks just enough of HTTP/2 to flood its client.
type floodAgent struct {
	// opening is sent first, and flood after that without end.
	opening, flood string
	sent           atomic.Int64
	connections    atomic.Int64
}

func (f *floodAgent) serve(conn net.Conn) {
	defer conn.Close()
	f.connections.Add(1)
	discarded := make(chan struct{})
	go func() {
		defer close(discarded)
		_, _ = io.Copy(io.Discard, conn)
	}()
	_, err := io.WriteString(conn, f.opening)
	block := []byte(strings.Repeat(f.flood, 1+4096/max(len(f.flood), 1)))
	for err == nil && f.flood != "" {
		var n int
		n, err = conn.Write(block)
		f.sent.Add(int64(n))
	}
	<-discarded
}

// start returns a client of the agent.
func (f *floodAgent) start(t *testing.T, config Config) *Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			served.Go(func() { f.serve(conn) })
		}
	})
	config.Transport, config.BaseURL = UnixTransport(socket), "http://agent"
	c := New(config)
	t.Cleanup(func() {
		listener.Close()
		c.Close()
		served.Wait()
	})
	return c
}

// TestFloodsOfHTTP2 has agents send frames of HTTP/2 that cost the reader time and bring nothing,
// below the protocol of package wire. They are cut off after a few megabytes.
func TestFloodsOfHTTP2(t *testing.T) {
	settings := frameOf(settingsFrame, 0, 0, "")
	// ":status: 200", and a header of which each copy in a frame is new.
	ok, header := "\x88", "\x00\x01x\x01y"
	answer := settings + frameOf(headersFrame, 4, 1, ok)
	for name, flood := range map[string]*floodAgent{
		"pings":            {opening: settings, flood: frameOf(pingFrame, 0, 0, "01234567")},
		"answers to pings": {opening: settings, flood: frameOf(pingFrame, 1, 0, "01234567")},
		"settings":         {opening: settings, flood: settings},
		"windows":          {opening: settings, flood: frameOf(windowFrame, 0, 0, "\x00\x00\x00\x01")},
		"unknown frames":   {opening: settings, flood: frameOf(200, 0, 0, "x")},
		"empty data":       {opening: answer, flood: frameOf(dataFrame, 0, 1, "")},
		"padding":          {opening: answer, flood: frameOf(dataFrame, 8, 1, "\xff"+strings.Repeat("x", 255))},
		"headers":          {opening: settings + frameOf(headersFrame, 0, 1, ok), flood: frameOf(continuationFrame, 0, 1, strings.Repeat(header, 3000))},
		"empty headers":    {opening: settings + frameOf(headersFrame, 0, 1, ok), flood: frameOf(continuationFrame, 0, 1, "")},
		"early hints":      {opening: settings, flood: frameOf(headersFrame, 4, 1, "\x08\x03103")},
		"pushes":           {opening: settings, flood: frameOf(pushFrame, 4, 1, "\x00\x00\x00\x02"+ok)},
		"data of no one":   {opening: settings, flood: frameOf(dataFrame, 0, 77, "x")},
		"large frames":     {opening: answer, flood: frameOf(dataFrame, 0, 1, strings.Repeat("x", 1<<20))},
	} {
		t.Run(name, func(t *testing.T) {
			c := flood.start(t, Config{ReconnectWindow: 300 * time.Millisecond})
			_, err := c.Run(t.Context(), twoSteps, nil)
			if !errors.Is(err, ErrProtocol) && !errors.Is(err, ErrUnreachable) {
				t.Errorf("got %v", err)
			}
			if sent := flood.sent.Load(); sent > 8<<20 {
				t.Errorf("it sent %d KiB, until %v", sent>>10, err)
			}
			t.Logf("%d KiB on %d connections, until %v", flood.sent.Load()>>10, flood.connections.Load(), err)
		})
	}
}

// TestAnAgentThatTakesNoRequests has an agent allow none on its connection: the client makes no other
// connection for it, and gives up in time.
func TestAnAgentThatTakesNoRequests(t *testing.T) {
	agent := &floodAgent{opening: frameOf(settingsFrame, 0, 0, "\x00\x03\x00\x00\x00\x00")}
	c := agent.start(t, Config{IdleTimeout: 200 * time.Millisecond, ReconnectWindow: 500 * time.Millisecond})
	if _, err := c.Run(t.Context(), twoSteps, nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v", err)
	}
	if n := agent.connections.Load(); n > 10 {
		t.Errorf("%d connections were made", n)
	}
}

// TestLargeHeadersAreRefused has an agent answer with more headers than there is reason for, before
// and after the body.
func TestLargeHeadersAreRefused(t *testing.T) {
	large := strings.Repeat("x", 2*maxHeaders)
	c := newServed(t, Config{ReconnectWindow: -1}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X", large)
		_, _ = io.WriteString(w, "{}")
	}))
	if _, err := c.Health(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("headers: %v", err)
	}
	c = newServed(t, Config{ReconnectWindow: -1}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X")
		_, _ = io.WriteString(w, done+"\n")
		w.Header().Set("X", large)
	}))
	if result, err := c.Run(t.Context(), twoSteps, nil); err != nil || result.State != wire.Failed {
		t.Errorf("trailers: %+v, %v", result, err)
	}
}
