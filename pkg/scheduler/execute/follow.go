package execute

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
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
	ctx = logging(ctx, x.entry.key, x.task)
	v, ok := e.follow(ctx, x)
	if !ok {
		return
	}
	e.release(x.id.podUID)
	e.conclude(ctx, x.entry, x, v)
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
	defer e.stopExecutionTimers(x)

	stopping := false
	for {
		select {
		case <-ctx.Done():
			return verdict{}, false
		case v := <-verdicts:
			return e.settled(x, v), true
		case <-x.wake:
		}
		s := e.look(x)
		if v, ended := e.given(x, s); ended {
			return v, true
		}
		if (s.cancelled || s.lost != nil) && !stopping {
			stopping = true
			margin := guardMargin
			if s.lost != nil {
				margin = endMargin
			}
			e.guard(x, e.config.Clock.Now().Add(plan.TaskGrace(x.task)+margin))
			helpers.Go(func() { e.cancel(driving, x) })
		}
		if s.runningDue || s.stepsDue {
			e.reportRunning(ctx, x)
		}
	}
}

// given returns the verdict on an execution whose end is not waited for any longer.
func (e *Executor) given(x *execution, s signals) (v verdict, ended bool) {
	switch {
	case s.lost != nil && (s.guardDue || !s.loss.graceful || !x.posted.Load()):
		// Its pod is gone, or about to be.
		return *s.lost, true
	case !s.guardDue:
		return verdict{}, false
	case !x.posted.Load():
		v := agentVerdict(x, "could not be asked to run the steps in time")
		v.begun, v.message = false, strings.TrimSuffix(v.message, mayHaveRun)
		return v, true
	default:
		return e.abandon(x, "did not end the steps in time"), true
	}
}

// abandon fails the sandbox of an execution whose steps may run still, so that nothing else is
// started beside them.
func (e *Executor) abandon(x *execution, why string) verdict {
	e.mu.Lock()
	x.entry.box.condemned = x.sandbox.UID
	e.mu.Unlock()
	e.config.Abandon(x.sandbox.UID, v1alpha1.SandboxReasonExecutionUnaccounted, fmt.Sprintf(
		"the agent of pod %q %s of task %q: they may run still, so no other task is started beside them; create another sandbox",
		x.id.pod.Name, why, x.entry.key.Name))
	return unaccountedVerdict(x, why)
}

// broke fails the sandbox of an execution whose agent has broken the protocol, and returns the verdict.
// The verdict stands, whatever the end of the sandbox would say of its tasks.
func (e *Executor) broke(x *execution, err error) verdict {
	v := brokenVerdict(x, err)
	e.mu.Lock()
	x.entry.box.condemned = x.sandbox.UID
	if x.lost == nil {
		x.lost, x.loss = &v, loss{reason: v.reason, message: v.message, class: v.class, final: true}
	}
	e.mu.Unlock()
	e.abandonBroken(x.sandbox.UID, x.id.pod.Name, err)
	return v
}

// abandonBroken fails a sandbox whose agent has broken the protocol.
func (e *Executor) abandonBroken(sandbox types.UID, pod string, err error) {
	e.config.Abandon(sandbox, v1alpha1.SandboxReasonAgentProtocolViolation,
		clip(brokenAgent(pod, err), maxMessage-leastMessage)+"; create another sandbox")
}

// settled returns the verdict on an execution of which the agent says how it went.
func (e *Executor) settled(x *execution, v verdict) verdict {
	s := e.look(x)
	switch {
	case s.lost == nil || s.cancelled && v.result != nil:
		return v
	case v.result != nil:
		return endedVerdict(x, *s.lost, s.loss, *v.result)
	default:
		return *s.lost
	}
}

// setTimers sets the timers of an execution that has been started.
func (e *Executor) setTimers(x *execution) {
	e.guard(x, x.startedAt.Add(plan.TaskTimeout(x.task)+plan.TaskGrace(x.task)+guardMargin))
	if x.task.Status.State == v1alpha1.TaskRunning {
		x.progress.note(x.startedAt)
		return
	}
	e.config.Timers.Set(timerKey{x.entry.uid, timeRunning}, x.startedAt.Add(runningDelay), func() {
		e.mark(x, func() { x.runningDue = true })
	})
}

func (e *Executor) stopExecutionTimers(x *execution) {
	for _, what := range []string{timeRunning, timeSteps, timeGuard} {
		e.config.Timers.Stop(timerKey{x.entry.uid, what})
	}
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

// signals are what an execution has to react to.
type signals struct {
	lost                                      *verdict
	loss                                      loss
	cancelled, runningDue, stepsDue, guardDue bool
}

func (e *Executor) look(x *execution) signals {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := signals{
		lost: x.lost, loss: x.loss, cancelled: x.entry.cancelled(),
		runningDue: x.runningDue, stepsDue: x.stepsDue, guardDue: x.guardDue,
	}
	x.runningDue, x.stepsDue = false, false
	return s
}

// drive has the agent run the execution and returns how it went. It returns
// false if ctx ends first.
func (e *Executor) drive(ctx context.Context, x *execution) (v verdict, ok bool) {
	begun := x.begun
	x.posted.Store(begun)
	// instance is the agent's process that was asked to run it, as far as known.
	instance := ""
	for wait := firstAsk; ; wait = min(2*wait, maxAsk) {
		now, result, err := e.ask(ctx, x, begun)
		if !begun {
			instance = now
		}
		switch {
		case err == nil:
			return resultVerdict(e.plausible(x, result)), true
		case ctx.Err() != nil:
			return verdict{}, false
		case errors.Is(err, client.ErrProtocol):
			return e.broke(x, err), true
		case errors.Is(err, client.ErrInvalid):
			return refusedVerdict(err), true
		case errors.Is(err, client.ErrForgotten):
			return agentVerdict(x, "has dropped the outcome"), true
		case errors.Is(err, client.ErrNotFound) && !x.begun && instance != "" && instance == now:
			// The very process that was asked does not know it: the request never arrived, or
			// is still on its way, and joins the next one then, which has the same ID.
			begun = false
		case errors.Is(err, client.ErrNotFound):
			return e.unknown(x, instance), true
		case errors.Is(err, errUnread), errors.Is(err, podruntime.ErrNotFound), errors.Is(err, client.ErrTooMany):
			// Nothing was begun by that. If the pod is gone for good, the
			// sandbox fails, which ends the wait.
		default:
			begun = true
		}
		klog.FromContext(ctx).V(2).Info("Agent does not answer, asking again", "pod", x.id.pod, "err", err)
		if !e.sleep(ctx, wait) {
			return verdict{}, false
		}
	}
}

// errUnread says that the steps of a large task could not be read.
var errUnread = errors.New("the task's steps could not be read")

// ask posts the execution, or attaches to it if it may have been begun. It returns the identity of
// the agent's process: of the one known before a post, or of the one that answered.
func (e *Executor) ask(ctx context.Context, x *execution, begun bool) (instance string, result wire.ExecutionResult, err error) {
	agent, err := e.config.Runtime.Agent(x.id.pod, x.id.podUID)
	if err != nil {
		return "", wire.ExecutionResult{}, err
	}
	onEvent := func(event wire.Event) { e.observe(x, event) }
	if begun {
		asked := client.Asked(len(x.task.Spec.Steps), e.config.OutputLimit)
		result, err = agent.Attach(ctx, x.id.id, 1, onEvent, client.WithoutOutput, asked)
		return agent.Instance(), result, err
	}
	task, err := e.whole(ctx, x.task)
	if err != nil {
		return "", wire.ExecutionResult{}, err
	}
	instance = agent.Instance()
	before := x.posted.Swap(true)
	result, err = agent.Run(ctx, requestOf(x, task, e.config.OutputLimit), onEvent, client.WithoutOutput)
	if errors.Is(err, client.ErrTooMany) {
		x.posted.Store(before)
	}
	return instance, result, err
}

// whole returns a task with the content of its steps, of which a large one is kept without.
func (e *Executor) whole(ctx context.Context, task *v1alpha1.Task) (*v1alpha1.Task, error) {
	if !abridged(task) {
		return task, nil
	}
	whole, err := e.config.Client.Tasks(task.Namespace).Get(ctx, task.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnread, err)
	}
	if whole.UID != task.UID {
		return nil, fmt.Errorf("%w: it was replaced by another of its name", errUnread)
	}
	return whole, nil
}

// unknown is the verdict on an execution that the agent does not know although
// it may have been begun.
func (e *Executor) unknown(x *execution, instance string) verdict {
	if e.look(x).cancelled && x.task.Status.State != v1alpha1.TaskRunning {
		return cancelledVerdict()
	}
	if !x.begun && instance == "" {
		// Whether another process has answered is not known: the request may be on its way still.
		return e.abandon(x, "does not know the steps that it was asked to run")
	}
	return agentVerdict(x, "was started anew and does not know the task")
}

// cancel tells the agent to end the execution, until it has heard.
func (e *Executor) cancel(ctx context.Context, x *execution) {
	request := wire.CancelRequest{Reason: wire.ReasonCancelled, Message: "the task was cancelled"}
	if s := e.look(x); s.lost != nil {
		request.Message = s.loss.message
	}
	for wait := firstAsk; ; wait = min(2*wait, maxAsk) {
		agent, err := e.config.Runtime.Agent(x.id.pod, x.id.podUID)
		if err == nil {
			err = agent.Cancel(ctx, x.id.id, request)
		}
		if err == nil || errors.Is(err, client.ErrForgotten) || errors.Is(err, client.ErrProtocol) {
			// Who drives the execution learns of an agent that breaks the protocol, too.
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
