package execute

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler/plan"
)

const (
	// conflictRetries bounds how often one write starts anew from the latest object.
	conflictRetries = 10
	// maxForbidden is how often a write is tried that a policy forbids: for about two minutes.
	maxForbidden = 30
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
	v, task := *t.verdict, t.task
	e.mu.Unlock()
	e.conclude(logging(ctx, t.key, task), t, nil, v)
	return nil
}

// logging returns a context whose logger names the task, and carries its trace ID.
func logging(ctx context.Context, key types.NamespacedName, task *v1alpha1.Task) context.Context {
	logger := klog.LoggerWithValues(klog.FromContext(ctx), "task", key)
	if task.Spec.TraceID != "" {
		logger = klog.LoggerWithValues(logger, "traceID", task.Spec.TraceID)
	}
	return klog.NewContext(ctx, logger)
}

// conclude stores how an attempt went: as the end of the task, or before
// another one. Execution is nil if none was started. If ctx ends first nothing
// is lost: the agent still has the outcome.
func (e *Executor) conclude(ctx context.Context, t *entry, x *execution, v verdict) {
	e.mu.Lock()
	task, gone, cancelled, attempt := t.task, t.gone, t.cancelled(), t.attempt
	e.mu.Unlock()
	var stored *v1alpha1.Task
	given := false
	wait, again := time.Duration(0), false
	if !gone {
		if v.state == v1alpha1.TaskFailed && !cancelled {
			wait, again = plan.Retry(&task.Spec, attempt, plan.Failure{
				Class: v.class, Reason: v.reason, SandboxGone: v.sandboxGone, Final: v.final,
			})
		}
		var err error
		stored, err = e.persist(ctx, t, func(status *v1alpha1.TaskStatus, d detail) {
			e.report(status, task, x, v, d)
			if again {
				retrying(status, attempt, wait, e.config.Clock.Now())
			}
		})
		if ctx.Err() != nil && err != nil {
			return
		}
		given = err != nil
	}
	if x != nil && !given {
		e.forgets.Add(x.id)
	}
	klog.FromContext(ctx).V(4).Info("Attempt at task ended", "attempt", attempt, "state", v.state, "reason", v.reason, "again", again)
	if again && stored != nil {
		e.again(t, stored, wait)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if given {
		v.result = nil
		t.refused = &v
	}
	e.endLocked(t)
}

// errRefused says that the server takes no status of a task, however little it says.
var errRefused = errors.New("the server refuses every status of the task")

// persist writes a task's status until it is stored. It returns nil if the task is gone or has been
// ended by somebody else. If the server refuses even the least status, or ctx ends first, it returns
// an error; the task then stays as it is stored until somebody changes it, and its place in the sandbox
// is free.
func (e *Executor) persist(ctx context.Context, t *entry, change func(status *v1alpha1.TaskStatus, d detail)) (*v1alpha1.Task, error) {
	e.mu.Lock()
	latest := t.task
	e.mu.Unlock()
	d, forbidden := full, 0
	for wait := firstRetry; ; wait = min(2*wait, maxRetry) {
		stored, err := e.update(ctx, latest, func(status *v1alpha1.TaskStatus) { change(status, d) })
		switch {
		case err == nil:
			return stored, nil
		case ctx.Err() != nil:
			return nil, err
		case unfit(err) && d < least:
			d++
			continue
		case apierrors.IsForbidden(err):
			// A policy of the cluster may refuse it for now.
			forbidden++
		}
		if unfit(err) || forbidden > maxForbidden {
			err = fmt.Errorf("%w: %w", errRefused, err)
			klog.FromContext(ctx).Error(err, "The end of the task cannot be stored: nothing runs of it; it is tried again when the task is changed, for instance by spec.cancel")
			return nil, err
		}
		klog.FromContext(ctx).Error(err, "Status of task not stored, trying again")
		if !e.sleep(ctx, wait) {
			return nil, fmt.Errorf("store the status of task %s: %w", t.key, context.Cause(ctx))
		}
	}
}

// unfit says whether the server will never take the object as it stands.
func unfit(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsRequestEntityTooLargeError(err)
}

// update changes the status of a task that has not ended, starting from the
// given object and, after a conflict, from the latest. It returns the task as
// stored, or nil if it is gone or has ended. Whoever changes the task faster than it can be read
// and written is an error.
func (e *Executor) update(ctx context.Context, task *v1alpha1.Task, change func(*v1alpha1.TaskStatus)) (*v1alpha1.Task, error) {
	api := e.config.Client.Tasks(task.Namespace)
	for range conflictRetries {
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
	return nil, fmt.Errorf("write the status of task %s/%s: changed by others %d times in a row", task.Namespace, task.Name, conflictRetries)
}

// learn takes in what a write was answered with, which the next write starts
// from. After a conflict that is more than was written: it may be the first to
// say that the task is cancelled.
func (e *Executor) learn(t *entry, stored *v1alpha1.Task) {
	trim(stored)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.takeLocked(t, stored)
}

// note writes for what a pending task waits.
func (e *Executor) note(ctx context.Context, uid types.UID) error {
	e.mu.Lock()
	t, ok := e.tasks[uid]
	if !ok || t.stage != pending || t.task.Status.ObservedGeneration != 0 && t.blocked == "" {
		e.mu.Unlock()
		return nil
	}
	changed := *t.task
	reason, message := e.waitingForLocked(t)
	e.mu.Unlock()
	if changed.Status.ObservedGeneration != 0 && changed.Status.Message == message {
		return nil
	}

	changed.Status = *changed.Status.DeepCopy()
	status := &changed.Status
	status.ObservedGeneration = changed.Generation
	status.State, status.Reason, status.Message = v1alpha1.TaskPending, reason, message
	setConditions(status, metav1.ConditionUnknown, e.config.Clock.Now())
	stored, err := e.config.Client.Tasks(changed.Namespace).UpdateStatus(ctx, &changed, updateOptions)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil && (unfit(err) || apierrors.IsForbidden(err)) {
		// Trying again changes nothing, and the task does not depend on it.
		klog.FromContext(ctx).Error(err, "The status does not say what the task waits for", "task", t.key, "traceID", changed.Spec.TraceID)
		return nil
	}
	if err != nil {
		return fmt.Errorf("note for what task %s waits: %w", t.key, err)
	}
	e.learn(t, stored)
	return nil
}

// waitingForLocked says for what a pending task waits.
func (e *Executor) waitingForLocked(t *entry) (reason, message string) {
	sandbox := t.box.sandbox
	first, _ := t.box.pending.Min()
	switch {
	case sandbox == nil && t.blocked != "":
		return v1alpha1.TaskReasonWaitingForSandbox, clip(t.blocked, maxMessage)
	case t == first && t.box.queued:
		return v1alpha1.TaskReasonQueued, e.slots.why(t.box.key.Namespace)
	case sandbox == nil:
		return v1alpha1.TaskReasonWaitingForSandbox, fmt.Sprintf("there is no sandbox %q yet", t.box.key.Name)
	case sandbox.Status.Phase == v1alpha1.SandboxReady:
		return v1alpha1.TaskReasonQueued, fmt.Sprintf("earlier tasks of sandbox %q come first", sandbox.Name)
	case sandbox.Status.Reason == v1alpha1.SandboxReasonPoolNotFound && t.task.Spec.PoolRef != "":
		// The author of the task has made no sandbox, so the message must not advise to delete one.
		return v1alpha1.TaskReasonWaitingForSandbox, fmt.Sprintf(
			"PoolNotFound: there is no warm pool %q in namespace %q: create it, or delete this task and create it with another spec.poolRef", t.task.Spec.PoolRef, sandbox.Namespace)
	}
	message = fmt.Sprintf("sandbox %q is not ready yet", sandbox.Name)
	if sandbox.Status.Reason != "" {
		message += fmt.Sprintf(": %s: %s", sandbox.Status.Reason, sandbox.Status.Message)
	}
	return v1alpha1.TaskReasonWaitingForSandbox, clip(message, maxMessage)
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
	if errors.Is(err, client.ErrProtocol) {
		e.abandonBroken(id.sandbox, id.pod.Name, err)
	}
	if err != nil {
		klog.FromContext(ctx).V(4).Info("Agent not told to forget", "execution", id.id, "pod", id.pod, "traceID", id.traceID, "err", err)
	}
	return nil
}

const forgetTimeout = 5 * time.Second
