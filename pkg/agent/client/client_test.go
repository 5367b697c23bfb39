package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arl.io/arl/pkg/agent/wire"
)

// exchange is one request that a fake agent expects, and what it does then.
type exchange struct {
	// want is method, path and query.
	want string
	// instance is the identity the agent answers with.
	instance string
	// status and code answer with an error, if status is not 0.
	status int
	code   string
	// events are sent.
	events []wire.Event
	// body is sent as it is.
	body string
	// cut breaks the connection after all that; hold keeps it open and silent.
	cut, hold bool
}

// fakeAgent answers requests in the order of a script, and breaks the
// connection of each beyond it.
type fakeAgent struct {
	t      *testing.T
	mu     sync.Mutex
	script []exchange
	extra  int
}

// ServeHTTP plays the next exchange.
func (f *fakeAgent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	if len(f.script) == 0 {
		f.extra++
		f.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	now := f.script[0]
	f.script = f.script[1:]
	f.mu.Unlock()
	if got := r.Method + " " + r.URL.String(); got != now.want {
		f.t.Errorf("request %s, want %s", got, now.want)
	}
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set(wire.InstanceHeader, now.instance)
	encoder := json.NewEncoder(w)
	if now.status != 0 {
		w.WriteHeader(now.status)
		_ = encoder.Encode(wire.Error{Code: now.code, Message: "said so"})
		return
	}
	for _, event := range now.events {
		_ = encoder.Encode(event)
	}
	_, _ = io.WriteString(w, now.body)
	if len(now.events) > 0 || now.hold {
		_ = http.NewResponseController(w).Flush()
	}
	if now.hold {
		<-r.Context().Done()
	}
	if now.cut {
		panic(http.ErrAbortHandler)
	}
}

// newFake starts a fake agent and returns a client of it. All of the script must be played.
func newFake(t *testing.T, config Config, script ...exchange) *Client {
	t.Helper()
	fake := &fakeAgent{t: t, script: script}
	c := newServed(t, config, fake)
	t.Cleanup(func() {
		c.Close()
		fake.mu.Lock()
		defer fake.mu.Unlock()
		if len(fake.script) > 0 {
			t.Errorf("never asked: %+v", fake.script)
		}
	})
	return c
}

// newServed starts an agent whose requests handler answers, and returns a client of it.
func newServed(t testing.TB, config Config, handler http.Handler) *Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	config.Transport = UnixTransport(socket)
	return serveOn(t, listener, config, handler)
}

// newPiped is newServed without a socket, for tests in a bubble of package synctest.
func newPiped(t testing.TB, config Config, handler http.Handler) *Client {
	t.Helper()
	listener := newPipeListener()
	transport := UnixTransport("")
	transport.DialContext = listener.dial
	config.Transport = transport
	return serveOn(t, listener, config, handler)
}

func serveOn(t testing.TB, listener net.Listener, config Config, handler http.Handler) *Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: handler, Protocols: protocols}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	config.BaseURL = "http://agent"
	c := New(config)
	t.Cleanup(func() {
		c.Close()
		server.Close()
		<-served
	})
	return c
}

var (
	started  = wire.Event{Seq: 1, Type: wire.EventStarted}
	output2  = wire.Event{Seq: 2, Type: wire.EventOutput, Output: &wire.Output{Stream: wire.Stdout, Data: []byte("x")}}
	ping     = wire.Event{Type: wire.EventPing}
	finished = wire.Event{Seq: 3, Type: wire.EventFinished, Done: &wire.ExecutionResult{State: wire.Succeeded}}
)

const (
	postPath   = "POST /v1/executions"
	eventsPath = "GET /v1/executions/id/events?from="
	healthPath = "GET /v1/health"
)

// followCase is a Run or Attach against a script.
type followCase struct {
	name   string
	attach bool
	script []exchange
	err    error
	// seen are the sequence numbers passed on.
	seen []int64
}

var followCases = []followCase{
	{
		name:   "one stream",
		script: []exchange{{want: postPath, events: []wire.Event{started, ping, output2, finished}}},
		seen:   []int64{1, 2, 3},
	}, {
		name: "a broken stream is taken up where it broke",
		script: []exchange{
			{want: postPath, events: []wire.Event{started}, cut: true},
			{want: eventsPath + "2", events: []wire.Event{ping}, cut: true},
			{want: eventsPath + "2", events: []wire.Event{output2}},
			{want: eventsPath + "3", events: []wire.Event{finished}},
		},
		seen: []int64{1, 2, 3},
	}, {
		name: "events that come twice are passed on once",
		script: []exchange{
			{want: postPath, events: []wire.Event{started, output2}, cut: true},
			{want: eventsPath + "3", events: []wire.Event{output2, finished}},
		},
		seen: []int64{1, 2, 3},
	}, {
		name: "a post that was cut off is not sent again if it arrived",
		script: []exchange{
			{want: healthPath, instance: "a", body: "{}"},
			{want: postPath, instance: "a", cut: true},
			{want: eventsPath + "1", instance: "a", events: []wire.Event{started, output2, finished}},
		},
		seen: []int64{1, 2, 3},
	}, {
		name: "a post that was cut off is sent again if the same process never got it",
		script: []exchange{
			{want: healthPath, instance: "a", body: "{}"},
			{want: postPath, instance: "a", cut: true},
			{want: eventsPath + "1", instance: "a", status: 404, code: wire.CodeNotFound},
			{want: postPath, instance: "a", events: []wire.Event{started, output2, finished}},
		},
		seen: []int64{1, 2, 3},
	}, {
		name: "a post that was cut off is not sent to another process",
		script: []exchange{
			{want: healthPath, instance: "a", body: "{}"},
			{want: postPath, instance: "a", cut: true},
			{want: eventsPath + "1", instance: "b", status: 404, code: wire.CodeNotFound},
		},
		err: ErrUnreachable,
	}, {
		name: "an agent started anew has lost it",
		script: []exchange{
			{want: postPath, events: []wire.Event{started}, cut: true},
			{want: eventsPath + "2", status: 404, code: wire.CodeNotFound},
		},
		err:  ErrUnreachable,
		seen: []int64{1},
	}, {
		name:   "unknown",
		attach: true,
		script: []exchange{{want: eventsPath + "1", status: 404, code: wire.CodeNotFound}},
		err:    ErrNotFound,
	}, {
		name:   "forgotten",
		attach: true,
		script: []exchange{{want: eventsPath + "1", status: 410, code: wire.CodeForgotten}},
		err:    ErrForgotten,
	}, {
		name:   "refused",
		script: []exchange{{want: postPath, status: 400, code: wire.CodeInvalid}},
		err:    ErrInvalid,
	}, {
		name:   "full",
		script: []exchange{{want: postPath, status: 429, code: wire.CodeTooMany}},
		err:    ErrTooMany,
	}, {
		name: "a frame that was cut off breaks the stream",
		script: []exchange{
			{want: postPath, events: []wire.Event{started}, body: `{"seq":2,"typ`},
			{want: eventsPath + "2", events: []wire.Event{output2, finished}},
		},
		seen: []int64{1, 2, 3},
	},
}

func TestFollow(t *testing.T) {
	for _, test := range followCases {
		t.Run(test.name, func(t *testing.T) {
			c := newFake(t, Config{}, test.script...)
			if test.script[0].want == healthPath {
				if _, err := c.Health(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			var seen []int64
			onEvent := func(event wire.Event) { seen = append(seen, event.Seq) }
			var result wire.ExecutionResult
			var err error
			if test.attach {
				result, err = c.Attach(t.Context(), "id", 0, onEvent)
			} else {
				result, err = c.Run(t.Context(), wire.Execution{ID: "id"}, onEvent)
			}
			if !errors.Is(err, test.err) || err == nil && result.State != wire.Succeeded {
				t.Errorf("got %+v, %v, want error %v", result, err, test.err)
			}
			if diff := cmp.Diff(test.seen, seen); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWithoutOnEventNoOutputIsAskedFor(t *testing.T) {
	c := newFake(t, Config{},
		exchange{want: postPath + "?output=none", events: []wire.Event{started}, cut: true},
		exchange{want: eventsPath + "2&output=none", events: []wire.Event{finished}},
	)
	if _, err := c.Run(t.Context(), wire.Execution{ID: "id"}, nil); err != nil {
		t.Error(err)
	}
}

func TestASilentStreamIsBroken(t *testing.T) {
	// Each silence is longer than the window, which is for what comes after a break.
	c := newFake(t, Config{IdleTimeout: time.Second, ReconnectWindow: 500 * time.Millisecond},
		exchange{want: postPath + "?output=none", events: []wire.Event{started}, hold: true},
		exchange{want: eventsPath + "2&output=none", hold: true},
		exchange{want: eventsPath + "2&output=none", events: []wire.Event{finished}},
	)
	if _, err := c.Run(t.Context(), wire.Execution{ID: "id"}, nil); err != nil {
		t.Error(err)
	}
}

func TestAnAgentThatIsGone(t *testing.T) {
	for name, script := range map[string][]exchange{
		"from the beginning": nil,
		"after a while":      {{want: postPath + "?output=none", events: []wire.Event{started}, cut: true}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newFake(t, Config{ReconnectWindow: 100 * time.Millisecond}, script...)
			if _, err := c.Run(t.Context(), wire.Execution{ID: "id"}, nil); !errors.Is(err, ErrUnreachable) {
				t.Errorf("got %v", err)
			}
		})
	}
	c := New(Config{Transport: UnixTransport("/no/such/socket"), BaseURL: "http://agent", ReconnectWindow: -1})
	defer c.Close()
	if _, err := c.Health(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("Health: %v", err)
	}
	if _, err := c.Run(t.Context(), wire.Execution{ID: "id"}, nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("Run: %v", err)
	}
}

func TestTheCallersContextEndsRun(t *testing.T) {
	c := newFake(t, Config{}, exchange{want: postPath, events: []wire.Event{started}, hold: true})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := c.Run(ctx, wire.Execution{ID: "id"}, func(wire.Event) { cancel() })
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v", err)
	}
}

func TestCloseEndsRun(t *testing.T) {
	c := newFake(t, Config{}, exchange{want: postPath, events: []wire.Event{started}, hold: true})
	_, err := c.Run(t.Context(), wire.Execution{ID: "id"}, func(wire.Event) { c.Close() })
	if !errors.Is(err, ErrUnreachable) {
		t.Errorf("Run: %v", err)
	}
	if _, err := c.Health(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("Health of a closed client: %v", err)
	}
}

func TestForgetTwice(t *testing.T) {
	const path = "DELETE /v1/executions/id"
	c := newFake(t, Config{}, exchange{want: path, body: "{}"}, exchange{want: path, status: 410, code: wire.CodeForgotten})
	for range 2 {
		if err := c.Forget(t.Context(), "id"); err != nil {
			t.Error(err)
		}
	}
}
