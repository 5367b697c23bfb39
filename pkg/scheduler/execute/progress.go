package execute

import (
	"context"
	"sync"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// progress is how far the steps of an execution have come, by what the agent reports. It is safe
// for concurrent use. Its lock is a leaf.
type progress struct {
	mu sync.Mutex
	// done are the outcomes of the first steps. If running, the step after them was started then.
	done    []wire.StepResult
	running bool
	started time.Time
	// written is when the status last said how far they are; zero before the status says Running.
	written time.Time
}

// observe takes in an event of an execution with so many steps, in its span. It returns when the
// status was last written, and whether it is behind. The agent is not trusted: events that make no
// sense change nothing.
func (p *progress) observe(event wire.Event, steps int, s span) (written time.Time, behind bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if event.Step != len(p.done) || event.Step >= steps {
		return time.Time{}, false
	}
	switch {
	case event.Type == wire.EventStepStarted:
		p.running, p.started = true, s.clamp(event.Time)
		return p.written, !p.written.IsZero()
	case event.Type == wire.EventStepFinished && event.StepDone != nil:
		done := s.step(*event.StepDone)
		done.Message = clip(done.Message, maxStepMessage)
		p.done, p.running = append(p.done, done), false
	}
	return time.Time{}, false
}

// note says that the status is written now.
func (p *progress) note(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.written = now
}

// steps returns the states of all steps of the task.
func (p *progress) steps(task *v1alpha1.Task) []v1alpha1.TaskStepStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	steps := stepsOf(task, p.done, false)
	for i := len(p.done); i < len(steps); i++ {
		steps[i].State = v1alpha1.StepPending
		if i == len(p.done) && p.running {
			started := metav1.NewMicroTime(p.started)
			steps[i].State, steps[i].StartTime = v1alpha1.StepRunning, &started
		}
	}
	return steps
}

// observe takes in an event of the agent. Once the status says Running it follows the steps, at
// most once in stepInterval, except for a large task, each write of which costs as much as its content.
func (e *Executor) observe(x *execution, event wire.Event) {
	written, behind := x.progress.observe(event, len(x.task.Spec.Steps), e.spanOf(x))
	if !behind || abridged(x.task) {
		return
	}
	e.config.Timers.Ensure(timerKey{x.entry.uid, timeSteps}, written.Add(stepInterval), func() {
		e.mark(x, func() { x.stepsDue = true })
	})
}

// reportRunning writes that a task runs, and how far its steps have come. It is tried once: the end
// of the task says all that matters, and comes by itself.
func (e *Executor) reportRunning(ctx context.Context, x *execution) {
	now := e.config.Clock.Now()
	x.progress.note(now)
	steps := x.progress.steps(x.task)
	e.mu.Lock()
	latest := x.entry.task
	e.mu.Unlock()
	if latest.Status.State == v1alpha1.TaskRunning && apiequality.Semantic.DeepEqual(latest.Status.Steps, steps) {
		return
	}
	stored, err := e.update(ctx, latest, func(status *v1alpha1.TaskStatus) {
		e.place(status, x)
		status.State, status.Reason = v1alpha1.TaskRunning, v1alpha1.TaskReasonRunning
		status.Message = ""
		status.Steps = steps
		setConditions(status, metav1.ConditionUnknown, now)
	})
	if err != nil {
		if ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Running task not marked as such")
		}
		return
	}
	if stored != nil {
		e.learn(x.entry, stored)
	}
}
