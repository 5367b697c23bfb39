package agent_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arl.io/arl/pkg/agent"
	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/agent/execution"
	"arl.io/arl/pkg/agent/wire"
)

func runs(t *testing.T, a *testAgent) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(a.dir, "runs"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return len(data)
}

func TestAnIDRunsOnce(t *testing.T) {
	a := newAgent(t, agent.Config{})
	ex := a.execution(shell("printf x >>runs; sleep 0.1; echo done"))
	const posts = 50
	results := make([]wire.ExecutionResult, posts)
	var group sync.WaitGroup
	for i := range posts {
		group.Go(func() {
			var err error
			if results[i], err = a.Run(t.Context(), ex, nil); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, result := range results {
		if diff := cmp.Diff(results[0], result); diff != "" {
			t.Fatalf("outcomes differ: %s", diff)
		}
	}
	// Nor does it run again when it has ended, and when it was forgotten.
	if result := a.runExecution(ex); string(result.Stdout) != "done\n" {
		t.Errorf("got %q", result.Stdout)
	}
	for range 2 {
		if err := a.Forget(t.Context(), ex.ID); err != nil {
			t.Error(err)
		}
	}
	if _, err := a.Run(a.context(), ex, nil); !errors.Is(err, client.ErrForgotten) {
		t.Errorf("Run of a forgotten execution: %v", err)
	}
	if _, err := a.Attach(a.context(), ex.ID, 1, nil); !errors.Is(err, client.ErrForgotten) {
		t.Errorf("Attach to a forgotten execution: %v", err)
	}
	if err := a.Cancel(t.Context(), ex.ID, wire.CancelRequest{}); !errors.Is(err, client.ErrForgotten) {
		t.Errorf("Cancel of a forgotten execution: %v", err)
	}
	if got := runs(t, a); got != 1 {
		t.Errorf("ran %d times", got)
	}
}

func TestUnknownExecutions(t *testing.T) {
	a := newAgent(t, agent.Config{})
	if _, err := a.Attach(a.context(), "unknown", 1, nil); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("Attach: %v", err)
	}
	if err := a.Cancel(t.Context(), "unknown", wire.CancelRequest{}); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("Cancel: %v", err)
	}
	if err := a.Forget(t.Context(), "unknown"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("Forget: %v", err)
	}
}

// An execution goes on without its client, and another one finds all of it.
func TestAnExecutionOutlivesItsClient(t *testing.T) {
	a := newAgent(t, agent.Config{})
	goOn := filepath.Join(a.dir, "go-on")
	ex := a.execution(helper("echoUntil", goOn), shell("printf x >>runs"))
	first := client.NewUnix(a.socket)
	ctx, cancel := context.WithCancel(t.Context())
	var before []wire.Event
	_, err := first.Run(ctx, ex, func(event wire.Event) {
		before = append(before, event)
		if event.Output != nil {
			cancel()
		}
	})
	first.Close()
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if err := a.Forget(t.Context(), ex.ID); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("Forget of one that runs: %v", err)
	}
	if err := os.WriteFile(goOn, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var all, rest []wire.Event
	result, err := a.Attach(a.context(), ex.ID, 1, func(event wire.Event) { all = append(all, event) })
	if err != nil || result.State != wire.Succeeded || runs(t, a) != 1 {
		t.Fatalf("%+v, %v, %d runs", result, err, runs(t, a))
	}
	if diff := cmp.Diff(before, all[:len(before)]); diff != "" {
		t.Errorf("a second reader sees something else: %s", diff)
	}
	last := before[len(before)-1].Seq
	if _, err := a.Attach(a.context(), ex.ID, last+1, func(event wire.Event) { rest = append(rest, event) }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all[last:], rest); diff != "" {
		t.Errorf("the rest is something else: %s", diff)
	}
}

// cutting is a proxy to a socket that can cut all its connections.
type cutting struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

// Accept remembers the connection.
func (c *cutting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.mu.Lock()
		c.conns = append(c.conns, conn)
		c.mu.Unlock()
	}
	return conn, err
}

func (c *cutting) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

// A connection that breaks in the middle is taken up where it broke.
func TestABrokenStreamIsTakenUp(t *testing.T) {
	var proxy *cutting
	a := newAgentOn(t, agent.Config{}, func(l net.Listener) net.Listener {
		proxy = &cutting{Listener: l}
		return proxy
	})
	ex := a.execution(shell("printf x >>runs; for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.02; done"))
	var text []byte
	var cuts atomic.Int32
	var seq int64
	result, err := a.Run(a.context(), ex, func(event wire.Event) {
		if event.Seq != seq+1 {
			t.Errorf("event %d follows %d", event.Seq, seq)
		}
		seq = event.Seq
		if event.Output != nil {
			text = append(text, event.Output.Data...)
			if len(text)%6 == 0 {
				cuts.Add(1)
				proxy.cut()
			}
		}
	})
	if err != nil || result.State != wire.Succeeded || runs(t, a) != 1 {
		t.Fatalf("%+v, %v, %d runs", result, err, runs(t, a))
	}
	if string(text) != "1\n2\n3\n4\n5\n6\n7\n8\n9\n" || cuts.Load() == 0 {
		t.Errorf("got %q with %d cuts", text, cuts.Load())
	}
}

func TestAsManyExecutionsAsMay(t *testing.T) {
	a := newAgent(t, agent.Config{Execution: execution.Config{MaxRunning: 2}})
	var group sync.WaitGroup
	defer group.Wait()
	var ids []string
	for range 2 {
		ex := a.execution(command("sleep", "300"))
		ids = append(ids, ex.ID)
		group.Go(func() {
			if _, err := a.Run(context.Background(), ex, nil); err != nil {
				t.Error(err)
			}
		})
		defer func() {
			if err := a.Cancel(context.Background(), ex.ID, wire.CancelRequest{}); err != nil {
				t.Error(err)
			}
		}()
	}
	for _, id := range ids {
		a.awaitBegun(id)
	}
	if _, err := a.Run(a.context(), a.execution(command("true")), nil); !errors.Is(err, client.ErrTooMany) {
		t.Errorf("a third: %v", err)
	}
}

// Outcomes are dropped when there are too many, the oldest first; their IDs stay known.
func TestOldOutcomesAreDropped(t *testing.T) {
	a := newAgent(t, agent.Config{Execution: execution.Config{MaxEnded: 2}})
	var ids []string
	for range 3 {
		ex := a.execution(command("true"))
		a.runExecution(ex)
		ids = append(ids, ex.ID)
	}
	if _, err := a.Attach(a.context(), ids[0], 1, nil); !errors.Is(err, client.ErrForgotten) {
		t.Errorf("the oldest: %v", err)
	}
	for _, id := range ids[1:] {
		if result, err := a.Attach(a.context(), id, 1, nil); err != nil || result.State != wire.Succeeded {
			t.Errorf("one of the last: %+v, %v", result, err)
		}
	}
}
