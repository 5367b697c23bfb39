package bind

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler/plan"
)

var updateOptions = metav1.UpdateOptions{FieldManager: "arl-scheduler"}

// conflictRetries bounds how often one write starts anew from the latest
// object. Somebody who edits a sandbox faster than that is waited out by the queue.
const conflictRetries = 5

// Allocated returns the status of a sandbox that was given a ready pod.
func Allocated(sandbox *v1alpha1.Sandbox, pod podruntime.Pod, now time.Time) *v1alpha1.SandboxStatus {
	status := sandbox.Status.DeepCopy()
	allocated := metav1.NewMicroTime(now)
	status.ObservedGeneration = max(sandbox.Generation, 1)
	status.Phase = v1alpha1.SandboxReady
	status.PodName, status.PodUID, status.PodIP = pod.Name, pod.UID, pod.IP
	status.NodeName, status.WorkDir = pod.NodeName, pod.WorkDir
	status.AllocatedTime, status.QueuePosition = &allocated, nil
	status.Reason = v1alpha1.SandboxReasonPodAllocated
	status.Message = "a pod is allocated and ready"
	setReady(status, metav1.ConditionTrue, now)
	return status
}

// bind writes that a sandbox has a pod. If the sandbox is not to have one any
// more, the pod goes back.
func (b *Binder) bind(ctx context.Context, sandbox *v1alpha1.Sandbox, pod podruntime.Pod) error {
	b.config.Timers.Stop(timerKey{keyOf(sandbox), timeAllocation})
	stored, err := b.write(ctx, sandbox, func(latest *v1alpha1.Sandbox) bool {
		if latest.Status.PodName != "" {
			return false
		}
		latest.Status = *Allocated(latest, pod, b.config.Clock.Now())
		return true
	})
	if err != nil {
		return err
	}
	if stored == nil || stored.DeletionTimestamp != nil || stored.Status.Phase == v1alpha1.SandboxFailed {
		b.config.Ledger.DropSandbox(sandbox)
		return nil
	}
	klog.FromContext(ctx).V(4).Info("Sandbox bound", "sandbox", klog.KObj(sandbox), "pod", stored.Status.PodName)
	named := podruntime.Key{Namespace: stored.Namespace, Name: stored.Status.PodName}
	b.config.Ledger.Confirm(stored.UID, named, stored.Status.PodUID)
	return nil
}

// await ends the wait of a sandbox when its allocation timeout is over.
func (b *Binder) await(ctx context.Context, sandbox *v1alpha1.Sandbox) error {
	key := keyOf(sandbox)
	deadline, bounded := plan.AllocationDeadline(sandbox, b.pool(sandbox))
	if !bounded {
		b.config.Timers.Stop(timerKey{key, timeAllocation})
		return nil
	}
	now := b.config.Clock.Now()
	if now.Before(deadline) {
		b.lookAt(key, timeAllocation, deadline)
		return nil
	}
	reason := v1alpha1.SandboxReasonAllocationTimeout
	message := fmt.Sprintf("no pod of pool %q came free within the allocation timeout: raise the pool's spec.replicas, or this sandbox's allocationTimeoutSeconds", sandbox.Spec.PoolRef)
	if !b.config.Ledger.GiveUp(sandbox.UID, reason, message) {
		// It has got a pod this very moment; that is another look.
		return nil
	}
	return b.fail(ctx, sandbox, reason, message)
}

// fail writes that a sandbox has failed, for good.
func (b *Binder) fail(ctx context.Context, sandbox *v1alpha1.Sandbox, reason, message string) error {
	stored, err := b.write(ctx, sandbox, func(latest *v1alpha1.Sandbox) bool {
		status := &latest.Status
		status.ObservedGeneration = latest.Generation
		status.Phase, status.Reason, status.Message = v1alpha1.SandboxFailed, reason, message
		status.QueuePosition = nil
		setReady(status, metav1.ConditionFalse, b.config.Clock.Now())
		return true
	})
	if err != nil {
		return err
	}
	if stored != nil {
		klog.FromContext(ctx).V(2).Info("Sandbox failed", "sandbox", klog.KObj(sandbox), "reason", reason, "message", message)
	}
	return nil
}

// write changes the status of a sandbox that is neither being deleted nor has
// failed. It starts from what the cache had and, after a conflict, from the latest. It returns
// the sandbox as stored now, changed or not, or nil if it is gone.
func (b *Binder) write(ctx context.Context, sandbox *v1alpha1.Sandbox, change func(*v1alpha1.Sandbox) bool) (*v1alpha1.Sandbox, error) {
	api := b.config.Client.Sandboxes(sandbox.Namespace)
	uid, latest := sandbox.UID, sandbox.DeepCopy()
	for range conflictRetries {
		if latest.DeletionTimestamp != nil || latest.Status.Phase == v1alpha1.SandboxFailed || !change(latest) {
			return latest, nil
		}
		stored, err := api.UpdateStatus(ctx, latest, updateOptions)
		if err == nil {
			return stored, nil
		}
		if apierrors.IsConflict(err) {
			latest, err = api.Get(ctx, sandbox.Name, metav1.GetOptions{})
		}
		if apierrors.IsNotFound(err) || err == nil && latest.UID != uid {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("write the status of sandbox %s/%s: %w", sandbox.Namespace, sandbox.Name, err)
		}
	}
	return nil, fmt.Errorf("write the status of sandbox %s/%s: changed by others %d times in a row", sandbox.Namespace, sandbox.Name, conflictRetries)
}

// setReady sets the condition from the status's reason and message.
func setReady(status *v1alpha1.SandboxStatus, ready metav1.ConditionStatus, now time.Time) {
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type:               v1alpha1.SandboxConditionReady,
		Status:             ready,
		ObservedGeneration: status.ObservedGeneration,
		LastTransitionTime: metav1.NewTime(now),
		Reason:             status.Reason,
		Message:            status.Message,
	})
}
