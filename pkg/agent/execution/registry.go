// Package execution runs executions, each once, and remembers them. It knows
// nothing of the network.
//
// A Registry is the memory of IDs that makes an execution happen at most once:
// an ID that was posted is known until long after its outcome was
// forgotten. What it holds is bounded: executions that run, outcomes of those that ended, by
// number and by size, and forgotten IDs, of which the oldest go first. Nobody who
// makes a new ID for each attempt, and forgets an outcome when it has been
// stored, comes near these bounds.
//
// Goroutines: Post starts one per execution, which Close joins. Locks: Registry.mu
// stands above the locks of an output.Log. Read registry.go first, then run.go.
package execution

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"arl.io/arl/pkg/agent/file"
	"arl.io/arl/pkg/agent/memory"
	"arl.io/arl/pkg/agent/output"
	"arl.io/arl/pkg/agent/process"
	"arl.io/arl/pkg/agent/wire"
)

// Sentinel errors of a Registry.
var (
	// ErrInvalid: the execution cannot be run as it stands; nothing was begun.
	ErrInvalid = errors.New("invalid execution")
	// ErrNotFound: the ID is not known.
	ErrNotFound = errors.New("no such execution")
	// ErrForgotten: the ID is known, the outcome was dropped.
	ErrForgotten = errors.New("the execution ran, and its outcome was dropped")
	// ErrTooMany: as many executions run as may.
	ErrTooMany = errors.New("too many executions run at the same time")
	// ErrNotEnded: what was asked for needs the execution to have ended.
	ErrNotEnded = errors.New("the execution has not ended")
	// ErrClosed: the registry was closed.
	ErrClosed = errors.New("the agent is shutting down")
)

// Config makes a Registry. Zero limits mean the defaults.
type Config struct {
	Supervisor *process.Supervisor
	Files      *file.Root
	Logger     *slog.Logger
	// Env is the environment of commands before the execution's own.
	Env []string
	// Memory is the container's cgroup, by which a step that the kernel ended for want of memory is
	// recognized. Nil: it cannot be read.
	Memory *memory.Events
	// Grace is the time between TERM and KILL for an execution that names none. Default 2 s.
	Grace time.Duration
	// Linger is how long a step waits for more output after its own process has ended, while
	// another process holds its output open. Default 100 ms.
	Linger time.Duration
	// Stall is how long output waits for a reader that stands still. Default output.DefaultStall.
	Stall time.Duration
	// MaxRunning bounds the executions that run at the same time. Default 64.
	MaxRunning int
	// MaxEnded bounds the outcomes kept. Default 256.
	MaxEnded int
	// MaxEndedBytes bounds the memory of the outcomes and events kept. Default 32 MiB.
	MaxEndedBytes int
	// MaxForgotten bounds the IDs known whose outcome was dropped. Default 100,000.
	MaxForgotten int
}

func (c *Config) complete() {
	setDefault(&c.Grace, 2*time.Second)
	setDefault(&c.Linger, 100*time.Millisecond)
	setDefault(&c.Stall, output.DefaultStall)
	setDefault(&c.MaxRunning, 64)
	setDefault(&c.MaxEnded, 256)
	setDefault(&c.MaxEndedBytes, 32<<20)
	setDefault(&c.MaxForgotten, 100_000)
}

func setDefault[T int | time.Duration](value *T, otherwise T) {
	if *value == 0 {
		*value = otherwise
	}
}

// Registry is safe for concurrent use.
type Registry struct {
	config Config
	env    environment
	group  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	// known are the executions that run and those whose outcome is kept.
	known   map[string]*Execution
	running int
	// ended are the executions whose outcome is kept, oldest first, and
	// endedBytes is what they hold.
	ended      *list.List
	endedBytes int
	forgotten  forgotten
}

// NewRegistry returns an empty registry. The caller closes it.
func NewRegistry(config Config) *Registry {
	config.complete()
	return &Registry{
		config:    config,
		env:       newEnvironment(config.Env),
		known:     map[string]*Execution{},
		ended:     list.New(),
		forgotten: newForgotten(config.MaxForgotten),
	}
}

// Post begins an execution, or returns the one of its ID if that is known
// already, whatever else it holds. It goes on when the caller goes away. Returns
// ErrInvalid, ErrTooMany, ErrForgotten or ErrClosed; nothing was begun then by this call.
func (r *Registry) Post(request wire.Execution) (*Execution, error) {
	if err := validate(request); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	known, err := r.getLocked(request.ID)
	switch {
	case err == nil:
		return known, nil
	case !errors.Is(err, ErrNotFound):
		return nil, err
	case r.closed:
		return nil, ErrClosed
	case r.running >= r.config.MaxRunning:
		return nil, fmt.Errorf("%w: at most %d", ErrTooMany, r.config.MaxRunning)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	begun := newExecution(request, r.config.Stall, cancel)
	r.known[request.ID] = begun
	r.running++
	r.group.Go(func() {
		result := r.run(ctx, begun)
		cancel(nil)
		r.end(begun, result)
	})
	return begun, nil
}

// Get returns an execution that runs or whose outcome is kept. Else returns
// ErrForgotten or ErrNotFound.
func (r *Registry) Get(id string) (*Execution, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.getLocked(id)
}

func (r *Registry) getLocked(id string) (*Execution, error) {
	if known, ok := r.known[id]; ok {
		return known, nil
	}
	if r.forgotten.has(id) {
		return nil, fmt.Errorf("%w: %s", ErrForgotten, id)
	}
	return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
}

// Forget drops the outcome of an execution that has ended. Its ID stays known.
// Returns ErrNotEnded, ErrForgotten or ErrNotFound.
func (r *Registry) Forget(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, err := r.getLocked(id)
	if err != nil {
		return err
	}
	if known.place == nil {
		return fmt.Errorf("%w: %s", ErrNotEnded, id)
	}
	r.forgetLocked(known)
	return nil
}

// Used says whether an execution was ever begun.
func (r *Registry) Used() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.known) > 0 || len(r.forgotten.set) > 0
}

// Running returns the IDs of the executions that have not ended, in order.
func (r *Registry) Running() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running == 0 {
		return nil
	}
	ids := make([]string, 0, r.running)
	for id, each := range r.known {
		if each.place == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Close cancels what runs, waits for it to end, and refuses everything new.
func (r *Registry) Close() {
	r.mu.Lock()
	r.closed = true
	for _, each := range r.known {
		each.Cancel(wire.CancelRequest{Message: "the agent is shutting down"})
	}
	r.mu.Unlock()
	r.group.Wait()
}

// end notes the outcome of an execution and makes room for it.
func (r *Registry) end(ended *Execution, result wire.ExecutionResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running--
	ended.finish(result)
	ended.place = r.ended.PushBack(ended)
	ended.size = ended.log.Kept() + resultBytes(result)
	r.endedBytes += ended.size
	for r.ended.Len() > r.config.MaxEnded {
		r.forgetLocked(r.ended.Front().Value.(*Execution))
	}
	r.shrinkLocked()
}

// shrinkLocked brings the memory of ended executions below its bound: output
// that only a late reader would miss goes first, outcomes after that.
func (r *Registry) shrinkLocked() {
	for at := r.ended.Front(); at != nil && r.endedBytes > r.config.MaxEndedBytes; at = at.Next() {
		each := at.Value.(*Execution)
		kept := each.log.Kept()
		each.log.DropOutput()
		each.size -= kept
		r.endedBytes -= kept
	}
	for r.endedBytes > r.config.MaxEndedBytes && r.ended.Len() > 1 {
		r.forgetLocked(r.ended.Front().Value.(*Execution))
	}
}

// forgetLocked drops an execution that has ended and remembers its ID.
func (r *Registry) forgetLocked(ended *Execution) {
	r.ended.Remove(ended.place)
	r.endedBytes -= ended.size
	delete(r.known, ended.request.ID)
	r.forgotten.add(ended.request.ID)
}

// resultBytes estimates what an outcome holds.
func resultBytes(result wire.ExecutionResult) int {
	size := len(result.Stdout) + len(result.Stderr) + len(result.Message)
	for _, step := range result.Steps {
		size += len(step.Message) + 256
	}
	return size
}
