package execute

import (
	"context"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/oneshot"
	"arl.io/arl/pkg/scheduler/plan"
)

// boxKey names the sandbox in which an attempt at a task is made.
func boxKey(task *v1alpha1.Task, attempt int32) types.NamespacedName {
	name := task.Spec.SandboxRef
	if task.Spec.PoolRef != "" {
		name = oneshot.Name(task, attempt)
	}
	return types.NamespacedName{Namespace: task.Namespace, Name: name}
}

// provide makes the one-shot sandbox of a pending task.
func (e *Executor) provide(ctx context.Context, uid types.UID) error {
	e.mu.Lock()
	t, ok := e.tasks[uid]
	if !ok || t.stage != pending || t.box.sandbox != nil {
		e.mu.Unlock()
		return nil
	}
	task, key, attempt := t.task, t.box.key, t.attempt
	e.mu.Unlock()

	_, err := e.config.Client.Sandboxes(key.Namespace).Create(ctx, oneshot.Sandbox(task, attempt), metav1.CreateOptions{FieldManager: updateOptions.FieldManager})
	if err == nil {
		klog.FromContext(ctx).V(4).Info("Sandbox made for task", "task", t.key, "sandbox", key, "traceID", task.Spec.TraceID)
		return nil
	}
	if apierrors.IsAlreadyExists(err) {
		return e.checkOneShot(ctx, t, key)
	}
	if overQuota(err) {
		e.wait(ctx, t, err)
		return nil
	}
	if unfit(err) || apierrors.IsForbidden(err) {
		e.giveUp(t, unmadeVerdict(err.Error()))
		return nil
	}
	return fmt.Errorf("make the sandbox for task %s: %w", t.key, err)
}

// Waits between the attempts to create a sandbox for which there is no quota.
const (
	firstQuotaWait = time.Second
	maxQuotaWait   = 30 * time.Second
)

// quotaWords are what the admission plugin of quotas says. It gives no machine-readable cause.
const quotaWords = "exceeded quota: "

// overQuota says of a refused create that it is one of those that succeed later. When the task was
// created there was room for its sandbox; others have taken it since.
func overQuota(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), quotaWords)
}

// wait has the sandbox of a task created again later, and the task's status say why.
func (e *Executor) wait(ctx context.Context, t *entry, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t.stage != pending {
		return
	}
	t.refusals++
	t.blocked = fmt.Sprintf("the sandbox for this task cannot be created yet, and is tried again: %v", err)
	wait := plan.Backoff(t.refusals, firstQuotaWait, maxQuotaWait)
	klog.FromContext(ctx).V(2).Info("Sandbox for task not created for lack of quota", "task", t.key, "wait", wait, "err", err)
	uid := t.uid
	e.config.Timers.Set(timerKey{uid, timeQuota}, e.config.Clock.Now().Add(wait), func() { e.oneShots.Add(uid) })
	e.notes.Add(uid)
}

// checkOneShot sees whether the sandbox that is there already is the task's own.
func (e *Executor) checkOneShot(ctx context.Context, t *entry, key types.NamespacedName) error {
	sandbox, err := e.config.Client.Sandboxes(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("look up the sandbox for task %s: %w", t.key, err)
	}
	if oneshot.Owner(sandbox) != t.uid {
		e.giveUp(t, foreignVerdict(t))
	}
	return nil
}

// giveUp ends a pending task that cannot have a sandbox.
func (e *Executor) giveUp(t *entry, v verdict) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t.stage == pending {
		e.settleLocked(t, v)
	}
}

// cleanUp deletes a one-shot sandbox whose task needs it no more.
func (e *Executor) cleanUp(ctx context.Context, key types.NamespacedName) error {
	sandbox, err := e.config.Sandboxes.Sandboxes(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up sandbox %s: %w", key, err)
	}
	owner := oneshot.Owner(sandbox)
	if owner == "" || sandbox.DeletionTimestamp != nil || e.needs(owner, key) {
		return nil
	}
	err = e.config.Client.Sandboxes(key.Namespace).Delete(ctx, key.Name, metav1.DeleteOptions{
		Preconditions: metav1.NewUIDPreconditions(string(sandbox.UID)),
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete the sandbox %s of a task that has ended: %w", key, err)
	}
	return nil
}

// needs says whether a task needs its one-shot sandbox.
func (e *Executor) needs(task types.UID, sandbox types.NamespacedName) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, ok := e.tasks[task]
	return ok && t.stage != ended && !t.gone && t.box.key == sandbox
}
