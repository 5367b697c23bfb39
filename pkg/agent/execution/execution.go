package execution

import (
	"container/list"
	"context"
	"time"

	"arl.io/arl/pkg/agent/output"
	"arl.io/arl/pkg/agent/wire"
)

// Execution is one that runs or has ended. It is safe for concurrent use.
type Execution struct {
	// request is what was asked for. When the execution has ended, only its ID is left.
	request wire.Execution
	log     *output.Log
	cancel  context.CancelCauseFunc

	// place and size are guarded by Registry.mu: where the execution is among
	// those that have ended (nil if it has not), and what it counts there.
	place *list.Element
	size  int
}

func newExecution(request wire.Execution, stall time.Duration, cancel context.CancelCauseFunc) *Execution {
	return &Execution{request: request, log: output.NewLog(output.DefaultLimit, stall), cancel: cancel}
}

// Read returns a reader of the events from sequence number from on; see output.Log.Read.
func (e *Execution) Read(from int64, output bool) *output.Reader { return e.log.Read(from, output) }

// Cancel ends the execution: the running step is stopped, the rest are skipped.
// It does not wait. It does nothing to one that has ended or was cancelled before.
func (e *Execution) Cancel(request wire.CancelRequest) {
	cause := &stop{reason: wire.ReasonCancelled, message: request.Message}
	if request.Reason == wire.ReasonTimeout {
		cause.reason = wire.ReasonTimeout
	}
	if cause.message == "" {
		cause.message = "the execution was cancelled"
	}
	e.cancel(cause)
}

// finish records the outcome for readers, and drops what is not needed any more. It is called
// with Registry.mu held, which guards request from then on.
func (e *Execution) finish(result wire.ExecutionResult) {
	e.request = wire.Execution{ID: e.request.ID}
	e.log.Mark(wire.Event{Type: wire.EventFinished, Time: time.Now().UTC(), Done: &result})
}

// stop is the cause of a context that ends an execution or a step.
type stop struct{ reason, message string }

// Error returns the message.
func (s *stop) Error() string { return s.message }
