package execute

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler/plan"
)

var updateOptions = metav1.UpdateOptions{FieldManager: "arl-scheduler"}

// settle writes the end of a task that was not started.
func (e *Executor) settle(ctx context.Context, uid types.UID) error {
	e.mu.Lock()
	t, ok := e.tasks[uid]
	if !ok || t.stage != settling {
		e.mu.Unlock()
		return nil
	}
	v := *t.verdict
	e.mu.Unlock()
	e.conclude(ctx, t, nil, v)
	return nil
}

// conclude stores how an attempt went: as the end of the task, or before
// another one. Execution is nil if none was started. If ctx ends first nothing
// is lost: the agent still has the outcome.
func (e *Executor) conclude(ctx context.Context, t *entry, x *execution, v verdict) {
	e.mu.Lock()
	task, gone, cancelled, attempt := t.task, t.gone, t.cancelled(), t.attempt
	e.mu.Unlock()
	var stored *v1alpha1.Task
	wait, again := time.Duration(0), false
	if !gone {
		if v.state == v1alpha1.TaskFailed && !cancelled {
			wait, again = plan.Retry(&task.Spec, attempt, plan.Failure{Class: v.class, Reason: v.reason, SandboxGone: v.sandboxGone})
		}
		var ok bool
		stored, ok = e.persist(ctx, t, func(status *v1alpha1.TaskStatus, slim bool) {
			e.report(status, task, x, v, slim)
			if again {
				retrying(status, attempt, wait)
			}
		})
		if !ok {
			return
		}
	}
	if x != nil {
		e.forgets.Add(x.id)
	}
	klog.FromContext(ctx).V(4).Info("Attempt at task ended", "task", t.key, "attempt", attempt, "state", v.state, "reason", v.reason, "again", again)
	if again && stored != nil {
		e.again(t, stored, wait)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.endLocked(t)
}

// persist writes a task's status until it is stored. It returns nil if the task
// is gone or has been ended by somebody else, and false if ctx ends first.
func (e *Executor) persist(ctx context.Context, t *entry, change func(status *v1alpha1.TaskStatus, slim bool)) (stored *v1alpha1.Task, ok bool) {
	e.mu.Lock()
	latest := t.task
	e.mu.Unlock()
	slim := false
	for wait := firstRetry; ; wait = min(2*wait, maxRetry) {
		stored, err := e.update(ctx, latest, func(status *v1alpha1.TaskStatus) { change(status, slim) })
		switch {
		case err == nil:
			return stored, true
		case ctx.Err() != nil:
			return nil, false
		case !slim && unfit(err):
			slim = true
			continue
		}
		klog.FromContext(ctx).Error(err, "Status of task not stored, trying again", "task", t.key)
		if !e.sleep(ctx, wait) {
			return nil, false
		}
	}
}

// unfit says whether the server will never take the object as it stands.
func unfit(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsRequestEntityTooLargeError(err)
}

// update changes the status of a task that has not ended, starting from the
// given object and, after a conflict, from the latest. It returns the task as
// stored, or nil if it is gone or has ended.
func (e *Executor) update(ctx context.Context, task *v1alpha1.Task, change func(*v1alpha1.TaskStatus)) (*v1alpha1.Task, error) {
	api := e.config.Client.Tasks(task.Namespace)
	for {
		changed := *task
		changed.Status = *task.Status.DeepCopy()
		changed.Status.ObservedGeneration = task.Generation
		change(&changed.Status)
		stored, err := api.UpdateStatus(ctx, &changed, updateOptions)
		if err == nil {
			return stored, nil
		}
		uid := task.UID
		if apierrors.IsConflict(err) {
			task, err = api.Get(ctx, task.Name, metav1.GetOptions{})
		}
		if apierrors.IsNotFound(err) || err == nil && (task.UID != uid || plan.Finished(task)) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("write the status of task %s/%s: %w", changed.Namespace, changed.Name, err)
		}
	}
}

// tellRunning writes that a task runs. It is tried once: the end of the task
// says all that matters, and comes by itself.
func (e *Executor) tellRunning(ctx context.Context, x *execution) {
	e.mu.Lock()
	latest := x.entry.task
	e.mu.Unlock()
	stored, err := e.update(ctx, latest, func(status *v1alpha1.TaskStatus) {
		e.place(status, x)
		status.State, status.Reason = v1alpha1.TaskRunning, v1alpha1.TaskReasonRunning
		status.Message = ""
		setSucceeded(status, metav1.ConditionUnknown, e.config.Clock.Now())
	})
	if err != nil {
		if ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Running task not marked as such", "task", x.entry.key)
		}
		return
	}
	if stored != nil {
		e.learn(x.entry, stored)
	}
}

// learn takes in what a write was answered with, which the next write starts
// from. After a conflict that is more than was written: it may be the first to
// say that the task is cancelled.
func (e *Executor) learn(t *entry, stored *v1alpha1.Task) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.takeLocked(t, stored)
}

// note writes for what a pending task waits.
func (e *Executor) note(ctx context.Context, uid types.UID) error {
	e.mu.Lock()
	t, ok := e.tasks[uid]
	if !ok || t.stage != pending || t.task.Status.ObservedGeneration != 0 {
		e.mu.Unlock()
		return nil
	}
	changed := *t.task
	reason, message := waitingFor(t)
	e.mu.Unlock()

	changed.Status = *changed.Status.DeepCopy()
	status := &changed.Status
	status.ObservedGeneration = changed.Generation
	status.State, status.Reason, status.Message = v1alpha1.TaskPending, reason, message
	setSucceeded(status, metav1.ConditionUnknown, e.config.Clock.Now())
	stored, err := e.config.Client.Tasks(changed.Namespace).UpdateStatus(ctx, &changed, updateOptions)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("note for what task %s waits: %w", t.key, err)
	}
	e.learn(t, stored)
	return nil
}

// waitingFor says for what a pending task waits.
func waitingFor(t *entry) (reason, message string) {
	sandbox := t.box.sandbox
	switch {
	case sandbox == nil:
		return v1alpha1.TaskReasonWaitingForSandbox, fmt.Sprintf("there is no sandbox %q yet", t.box.key.Name)
	case sandbox.Status.Phase != v1alpha1.SandboxReady:
		message := fmt.Sprintf("sandbox %q is not ready yet", sandbox.Name)
		if sandbox.Status.Reason != "" {
			message += fmt.Sprintf(": %s: %s", sandbox.Status.Reason, sandbox.Status.Message)
		}
		return v1alpha1.TaskReasonWaitingForSandbox, message
	default:
		return v1alpha1.TaskReasonQueued, fmt.Sprintf("earlier tasks of sandbox %q come first", sandbox.Name)
	}
}

// forget has an agent drop the outcome of an execution, which is stored. It is
// tried once: an agent that cannot be reached bounds what it keeps by itself.
func (e *Executor) forget(ctx context.Context, id execID) error {
	ctx, cancel := context.WithTimeout(ctx, forgetTimeout)
	defer cancel()
	agent, err := e.config.Runtime.Agent(id.pod, id.podUID)
	if err == nil {
		err = agent.Forget(ctx, id.id)
	}
	if err != nil {
		klog.FromContext(ctx).V(4).Info("Agent not told to forget", "execution", id.id, "pod", id.pod, "err", err)
	}
	return nil
}

const forgetTimeout = 5 * time.Second
