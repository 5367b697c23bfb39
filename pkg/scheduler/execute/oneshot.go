package execute

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// LabelTask is the label of a sandbox that was made for one task: the task's
// name, shortened if need be. A sandbox that carries it and is controlled by a
// Task is deleted once that task has ended or is gone.
const LabelTask = "arl.io/task"

const (
	taskKind = "Task"
	// maxOneShotPrefix leaves room for the hash in the 63 characters of a name.
	maxOneShotPrefix = 48
	maxLabel         = 63
)

// boxKey names the sandbox in which an attempt at a task is made.
func boxKey(task *v1alpha1.Task, attempt int32) types.NamespacedName {
	name := task.Spec.SandboxRef
	if task.Spec.PoolRef != "" {
		name = oneShotName(task, attempt)
	}
	return types.NamespacedName{Namespace: task.Namespace, Name: name}
}

// oneShotName is the same whenever it is asked for, so that a restarted server
// finds the sandbox that the one before it made.
func oneShotName(task *v1alpha1.Task, attempt int32) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", task.UID, attempt))
	return shorten(task.Name, maxOneShotPrefix) + "-" + hex.EncodeToString(sum[:5])
}

// shorten cuts a name to at most so many characters; names end with a letter or digit.
func shorten(name string, limit int) string {
	if len(name) <= limit {
		return name
	}
	name = name[:limit]
	for name != "" && (name[len(name)-1] == '-' || name[len(name)-1] == '.') {
		name = name[:len(name)-1]
	}
	return name
}

// ownerTask returns the UID of the task that a one-shot sandbox was made for,
// or "" for any other sandbox.
func ownerTask(sandbox *v1alpha1.Sandbox) types.UID {
	if _, ok := sandbox.Labels[LabelTask]; !ok {
		return ""
	}
	owner := metav1.GetControllerOf(sandbox)
	if owner == nil || owner.Kind != taskKind || owner.APIVersion != v1alpha1.SchemeGroupVersion.String() {
		return ""
	}
	return owner.UID
}

// provide makes the one-shot sandbox of a pending task.
func (e *Executor) provide(ctx context.Context, uid types.UID) error {
	e.mu.Lock()
	t, ok := e.tasks[uid]
	if !ok || t.stage != pending || t.box.sandbox != nil {
		e.mu.Unlock()
		return nil
	}
	task, key := t.task, t.box.key
	e.mu.Unlock()

	_, err := e.config.Client.Sandboxes(key.Namespace).Create(ctx, oneShot(task, key), metav1.CreateOptions{FieldManager: updateOptions.FieldManager})
	if err == nil {
		klog.FromContext(ctx).V(4).Info("Sandbox made for task", "task", t.key, "sandbox", key, "traceID", task.Spec.TraceID)
		return nil
	}
	if apierrors.IsAlreadyExists(err) {
		return e.checkOneShot(ctx, t, key)
	}
	if unfit(err) || apierrors.IsForbidden(err) {
		e.giveUp(t, unmadeVerdict(err.Error()))
		return nil
	}
	return fmt.Errorf("make the sandbox for task %s: %w", t.key, err)
}

func oneShot(task *v1alpha1.Task, key types.NamespacedName) *v1alpha1.Sandbox {
	return &v1alpha1.Sandbox{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace,
			Name:      key.Name,
			Labels:    map[string]string{LabelTask: shorten(task.Name, maxLabel)},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.SchemeGroupVersion.String(),
				Kind:       taskKind,
				Name:       task.Name,
				UID:        task.UID,
				Controller: ptr.To(true),
			}},
		},
		// It is deleted with the task, and not for being idle.
		Spec: v1alpha1.SandboxSpec{PoolRef: task.Spec.PoolRef, KeepAlive: true},
	}
}

// checkOneShot sees whether the sandbox that is there already is the task's own.
func (e *Executor) checkOneShot(ctx context.Context, t *entry, key types.NamespacedName) error {
	sandbox, err := e.config.Client.Sandboxes(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("look up the sandbox for task %s: %w", t.key, err)
	}
	if ownerTask(sandbox) != t.uid {
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
	owner := ownerTask(sandbox)
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
