package execute

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler/plan"
)

// Waits between two requests to an agent that does not answer.
const (
	firstAsk = 20 * time.Millisecond
	maxAsk   = 2 * time.Second
)

// execute looks after one execution until its end is stored, or ctx ends.
func (e *Executor) execute(ctx context.Context, x *execution) {
	v, ok := e.follow(ctx, x)
	if ok {
		e.conclude(ctx, x.entry, x, v)
	}
}

// follow waits for the end of an execution, and sees to it that it comes. It
// returns false if ctx ends first; the execution then goes on.
func (e *Executor) follow(ctx context.Context, x *execution) (v verdict, ok bool) {
	driving, stop := context.WithCancel(ctx)
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer stop()
	verdicts := make(chan verdict, 1)
	helpers.Go(func() {
		if v, ok := e.drive(driving, x); ok {
			verdicts <- v
		}
	})
	e.setTimers(x)
	defer e.config.Timers.Stop(timerKey{x.entry.uid, timeRunning})
	defer e.config.Timers.Stop(timerKey{x.entry.uid, timeGuard})

	cancelling := false
	for {
		select {
		case <-ctx.Done():
			return verdict{}, false
		case v := <-verdicts:
			return v, true
		case <-x.wake:
		}
		s := e.look(x)
		switch {
		case s.lost != nil:
			return *s.lost, true
		case s.guardDue:
			v := agentVerdict(x, "did not end the steps in time")
			// They may be running still: nothing else is started beside them.
			v.sandboxGone = true
			return v, true
		case s.cancelled && !cancelling:
			cancelling = true
			e.guard(x, e.config.Clock.Now().Add(guardMargin))
			helpers.Go(func() { e.cancel(driving, x) })
		}
		if s.runningDue {
			e.tellRunning(ctx, x)
		}
	}
}

// setTimers sets the timers of an execution that has been started.
func (e *Executor) setTimers(x *execution) {
	e.guard(x, x.startedAt.Add(plan.TaskTimeout(x.task)+guardMargin))
	if x.task.Status.State == v1alpha1.TaskRunning {
		return
	}
	e.config.Timers.Set(timerKey{x.entry.uid, timeRunning}, x.startedAt.Add(runningDelay), func() {
		e.mark(x, func() { x.runningDue = true })
	})
}

// guard sets the time at which the agent counts as lost.
func (e *Executor) guard(x *execution, at time.Time) {
	e.config.Timers.Set(timerKey{x.entry.uid, timeGuard}, at, func() {
		e.mark(x, func() { x.guardDue = true })
	})
}

// mark changes what follow looks at, and wakes it.
func (e *Executor) mark(x *execution, change func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change()
	x.poke()
}

// signals are what an execution is to heed.
type signals struct {
	lost                            *verdict
	cancelled, runningDue, guardDue bool
}

func (e *Executor) look(x *execution) signals {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := signals{lost: x.lost, cancelled: x.entry.cancelled(), runningDue: x.runningDue, guardDue: x.guardDue}
	x.runningDue = false
	return s
}

// drive has the agent run the execution and returns how it went. It returns
// false if ctx ends first.
func (e *Executor) drive(ctx context.Context, x *execution) (v verdict, ok bool) {
	request, begun := requestOf(x, e.config.OutputLimit), x.begun
	for wait := firstAsk; ; wait = min(2*wait, maxAsk) {
		result, err := e.ask(ctx, x, request, begun)
		switch {
		case err == nil:
			return resultVerdict(result), true
		case ctx.Err() != nil:
			return verdict{}, false
		case errors.Is(err, client.ErrInvalid):
			return refusedVerdict(err), true
		case errors.Is(err, client.ErrForgotten):
			return agentVerdict(x, "has dropped the outcome"), true
		case errors.Is(err, client.ErrNotFound):
			return e.unknown(x), true
		case errors.Is(err, podruntime.ErrNotFound), errors.Is(err, client.ErrTooMany):
			// Nothing was begun by that. If the pod is gone for good, the
			// sandbox fails, which ends the wait.
		default:
			begun = true
		}
		klog.FromContext(ctx).V(2).Info("Agent does not answer, asking again", "task", x.entry.key, "pod", x.id.pod, "err", err)
		if !e.sleep(ctx, wait) {
			return verdict{}, false
		}
	}
}

// ask posts the execution, or attaches to it if it may have been begun.
func (e *Executor) ask(ctx context.Context, x *execution, request wire.Execution, begun bool) (wire.ExecutionResult, error) {
	agent, err := e.config.Runtime.Agent(x.id.pod, x.id.podUID)
	if err != nil {
		return wire.ExecutionResult{}, err
	}
	if begun {
		return agent.Attach(ctx, x.id.id, 1, nil)
	}
	return agent.Run(ctx, request, nil)
}

// unknown is the verdict on an execution that the agent does not know although
// it may have been begun.
func (e *Executor) unknown(x *execution) verdict {
	if e.look(x).cancelled && x.task.Status.State != v1alpha1.TaskRunning {
		return cancelledVerdict()
	}
	return agentVerdict(x, "was started anew and does not know the task")
}

// cancel tells the agent to end the execution, until it has heard.
func (e *Executor) cancel(ctx context.Context, x *execution) {
	request := wire.CancelRequest{Reason: wire.ReasonCancelled, Message: "the task was cancelled"}
	for wait := firstAsk; ; wait = min(2*wait, maxAsk) {
		agent, err := e.config.Runtime.Agent(x.id.pod, x.id.podUID)
		if err == nil {
			err = agent.Cancel(ctx, x.id.id, request)
		}
		if err == nil || errors.Is(err, client.ErrForgotten) {
			return
		}
		// An agent that does not know it may be about to hear of it.
		if !e.sleep(ctx, wait) {
			return
		}
	}
}

// sleep returns false if ctx ends first.
func (e *Executor) sleep(ctx context.Context, wait time.Duration) bool {
	timer := e.config.Clock.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C():
		return true
	}
}

// requestOf returns what the agent is to run.
func requestOf(x *execution, outputLimit int) wire.Execution {
	steps := make([]wire.Step, len(x.task.Spec.Steps))
	for i := range x.task.Spec.Steps {
		step := &x.task.Spec.Steps[i]
		steps[i] = wire.Step{
			Name:              step.Name,
			Type:              string(step.Type),
			ContinueOnFailure: step.OnFailure == v1alpha1.FailureContinue,
			Command:           step.Command,
			Env:               step.Env,
			WorkDir:           step.WorkDir,
			Stdin:             step.Stdin,
			TimeoutMillis:     millis(plan.Timeout(step.Timeout)),
			Path:              step.Path,
			Content:           step.Content,
			Patch:             step.Patch,
			Mode:              step.Mode,
		}
	}
	return wire.Execution{
		ID:               x.id.id,
		Steps:            steps,
		TimeoutMillis:    millis(plan.TaskTimeout(x.task)),
		Env:              x.sandbox.Spec.Env,
		WorkDir:          x.sandbox.Status.WorkDir,
		OutputLimitBytes: outputLimit,
	}
}

// millis rounds up, so that a timeout below a millisecond does not become none.
func millis(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}
