package execution

import (
	"context"
	"fmt"
	"testing"

	"arl.io/arl/pkg/agent/wire"
)

func TestForgottenKeepsTheLastIDs(t *testing.T) {
	set := newForgotten(3)
	for i := range 8 {
		set.add(fmt.Sprint(i))
	}
	for i := range 8 {
		if got, want := set.has(fmt.Sprint(i)), i >= 5; got != want {
			t.Errorf("%d: known %v, want %v", i, got, want)
		}
	}
	if len(set.set) != 3 || len(set.order) != 3 {
		t.Errorf("holds %d and %d entries", len(set.set), len(set.order))
	}
}

// endedWith adds an execution that has ended to the registry.
func endedWith(r *Registry, id string, stdout, kept int) {
	added := newExecution(wire.Execution{ID: id}, 0, func(error) {})
	if kept > 0 {
		added.log.Output(context.Background(), wire.Event{Type: wire.EventOutput, Output: &wire.Output{Data: make([]byte, kept)}})
	}
	r.mu.Lock()
	r.known[id] = added
	r.running++
	r.mu.Unlock()
	r.end(added, wire.ExecutionResult{State: wire.Succeeded, Stdout: make([]byte, stdout)})
}

func TestEndedExecutionsAreBoundedInSize(t *testing.T) {
	r := NewRegistry(Config{MaxEndedBytes: 10_000})
	endedWith(r, "a", 1000, 5000)
	endedWith(r, "b", 1000, 2000)
	if r.endedBytes > 10_000 || r.ended.Len() != 2 {
		t.Fatalf("%d bytes of %d executions", r.endedBytes, r.ended.Len())
	}
	// Events of output go before outcomes do.
	endedWith(r, "c", 4000, 1000)
	a, err := r.Get("a")
	if err != nil || a.log.Kept() != 0 {
		t.Errorf("a: %v; its output must be dropped and its outcome kept", err)
	}
	if c, err := r.Get("c"); err != nil || c.log.Kept() == 0 {
		t.Errorf("c: %v; all of it must be kept", err)
	}
	endedWith(r, "d", 6000, 0)
	for id, want := range map[string]bool{"a": false, "b": false, "c": true, "d": true} {
		if _, err := r.Get(id); (err == nil) != want {
			t.Errorf("%s: %v", id, err)
		}
	}
	// What remains is just what is counted, also for one that is larger than allowed.
	endedWith(r, "e", 20_000, 0)
	if r.ended.Len() != 1 || r.endedBytes != 20_000 {
		t.Errorf("%d bytes of %d executions", r.endedBytes, r.ended.Len())
	}
	if err := r.Forget("e"); err != nil || r.endedBytes != 0 || len(r.known) != 0 {
		t.Errorf("%d bytes left, %v", r.endedBytes, err)
	}
}

func TestAClosedRegistryBeginsNothing(t *testing.T) {
	r := NewRegistry(Config{})
	r.Close()
	_, err := r.Post(wire.Execution{ID: "a", Steps: []wire.Step{{Type: wire.StepCommand, Command: []string{"true"}}}})
	if err != ErrClosed {
		t.Errorf("got %v", err)
	}
}

func TestARegistryIsUsedFromTheFirstExecutionOn(t *testing.T) {
	r := NewRegistry(Config{})
	if r.Used() {
		t.Error("used before anything ran")
	}
	endedWith(r, "a", 10, 0)
	if !r.Used() {
		t.Error("not used although an outcome is kept")
	}
	if err := r.Forget("a"); err != nil {
		t.Fatal(err)
	}
	if !r.Used() {
		t.Error("not used any more once the outcome was dropped")
	}
}
