package bind

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler/plan"
)

var updateOptions = metav1.UpdateOptions{FieldManager: "arl-scheduler"}

// conflictRetries bounds how often one write starts anew from the latest
// object. Somebody who edits a sandbox faster than that is waited out by the queue.
const conflictRetries = 5

// Allocated returns the status of a sandbox that was given a ready pod of the pool, which may be nil.
func Allocated(sandbox *v1alpha1.Sandbox, pool *v1alpha1.WarmPool, pod podruntime.Pod, now time.Time) *v1alpha1.SandboxStatus {
	changed := sandbox.DeepCopy()
	status := &changed.Status
	allocated := metav1.NewMicroTime(now)
	status.ObservedGeneration = max(sandbox.Generation, 1)
	status.Phase = v1alpha1.SandboxReady
	status.PodName, status.PodUID, status.PodIP = pod.Name, pod.UID, pod.IP
	status.NodeName, status.WorkDir = pod.NodeName, pod.WorkDir
	status.AllocatedTime, status.QueuePosition = &allocated, nil
	status.Reason = v1alpha1.SandboxReasonPodAllocated
	status.Message = "a pod is allocated and ready"
	status.IdleTimeoutSeconds, status.ExpirationTime = limits(changed, pool)
	setReady(status, metav1.ConditionTrue, now)
	return status
}

// limits returns the limits of an allocated sandbox that are in effect. They come with the write that
// binds the sandbox, and follow changes of either spec.
func limits(sandbox *v1alpha1.Sandbox, pool *v1alpha1.WarmPool) (idle *int32, end *metav1.Time) {
	if deadline, bounded := plan.LifetimeDeadline(sandbox, pool); bounded {
		// As it is stored: in whole seconds.
		end = ptr.To(metav1.NewTime(deadline.Truncate(time.Second)))
	}
	return plan.IdleTimeout(sandbox, pool), end
}

// limitsStored says whether the status has the limits in effect.
func limitsStored(sandbox *v1alpha1.Sandbox, pool *v1alpha1.WarmPool) bool {
	idle, end := limits(sandbox, pool)
	return ptr.Equal(sandbox.Status.IdleTimeoutSeconds, idle) && sandbox.Status.ExpirationTime.Equal(end)
}

// bind writes that a sandbox has a pod. If the sandbox is not to have one any
// more, the pod goes back.
func (b *Binder) bind(ctx context.Context, sandbox *v1alpha1.Sandbox, pod podruntime.Pod) error {
	b.config.Timers.Stop(timerKey{keyOf(sandbox), timeAllocation})
	stored, err := b.write(ctx, sandbox, func(latest *v1alpha1.Sandbox) bool {
		if latest.Status.PodName != "" {
			return false
		}
		latest.Status = *Allocated(latest, b.pool(latest), pod, b.config.Clock.Now())
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
	standing, ok := b.config.Ledger.GiveUp(sandbox.UID)
	if !ok {
		// It has got a pod this very moment; that is another look.
		return nil
	}
	return b.fail(ctx, sandbox, standing.Reason, standing.Message)
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

// setReady sets Ready from the status's reason and message, and beside it what the phase asks for:
// Reconciling while the sandbox waits, Stalled once it has failed.
func setReady(status *v1alpha1.SandboxStatus, ready metav1.ConditionStatus, now time.Time) {
	set := func(kind string, value metav1.ConditionStatus) {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type:               kind,
			Status:             value,
			ObservedGeneration: status.ObservedGeneration,
			LastTransitionTime: metav1.NewTime(now),
			Reason:             status.Reason,
			Message:            status.Message,
		})
	}
	set(v1alpha1.SandboxConditionReady, ready)
	for kind, phase := range map[string]v1alpha1.SandboxPhase{
		v1alpha1.ConditionReconciling: v1alpha1.SandboxPending,
		v1alpha1.ConditionStalled:     v1alpha1.SandboxFailed,
	} {
		if status.Phase == phase {
			set(kind, metav1.ConditionTrue)
		} else {
			meta.RemoveStatusCondition(&status.Conditions, kind)
		}
	}
}
