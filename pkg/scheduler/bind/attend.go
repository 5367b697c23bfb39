package bind

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler/plan"
)

// noteDelay is how far lastTaskTime may lag: a busy sandbox costs one write in
// that time, not one for every task.
const noteDelay = time.Second

// attend deletes a sandbox whose time is over and sets the timers of others.
func (b *Binder) attend(ctx context.Context, sandbox *v1alpha1.Sandbox) error {
	if sandbox.Status.Phase != v1alpha1.SandboxReady {
		// The cache has yet to see that it was bound.
		return nil
	}
	key, pool, now := keyOf(sandbox), b.pool(sandbox), b.config.Clock.Now()
	if deadline, bounded := plan.LifetimeDeadline(sandbox, pool); !bounded {
		b.config.Timers.Stop(timerKey{key, timeLifetime})
	} else if !now.Before(deadline) {
		return b.delete(ctx, sandbox, "its lifetime is over")
	} else {
		b.lookAt(key, timeLifetime, deadline)
	}

	b.planLabel(sandbox, pool)
	active, lastEnd := b.config.Tasks.Activity(key)
	b.planNote(sandbox, pool, lastEnd, now)
	deadline, bounded := plan.IdleDeadline(sandbox, pool, idleSince(sandbox, lastEnd))
	if active > 0 || !bounded {
		b.config.Timers.Stop(timerKey{key, timeIdle})
		return nil
	}
	if !now.Before(deadline) {
		return b.delete(ctx, sandbox, "it was idle for its idle timeout")
	}
	b.lookAt(key, timeIdle, deadline)
	return nil
}

// idleSince returns since when a sandbox without tasks is idle.
func idleSince(sandbox *v1alpha1.Sandbox, lastEnd time.Time) time.Time {
	since := lastEnd
	for _, t := range []*metav1.MicroTime{sandbox.Status.AllocatedTime, sandbox.Status.LastTaskTime} {
		if t != nil && t.After(since) {
			since = t.Time
		}
	}
	return since
}

// planNote has the bookkeeping written if it is behind.
func (b *Binder) planNote(sandbox *v1alpha1.Sandbox, pool *v1alpha1.WarmPool, lastEnd, now time.Time) {
	key := keyOf(sandbox)
	if sandbox.Status.ObservedGeneration != sandbox.Generation || !limitsStored(sandbox, pool) {
		b.notes.Add(key)
	} else if endedSince(sandbox, lastEnd) {
		b.config.Timers.Ensure(timerKey{key, timeNote}, now.Add(noteDelay), func() { b.notes.Add(key) })
	}
}

// endedSince says whether a task has ended after the stored lastTaskTime, which
// is kept in microseconds.
func endedSince(sandbox *v1alpha1.Sandbox, lastEnd time.Time) bool {
	noted := sandbox.Status.LastTaskTime
	return !lastEnd.IsZero() && (noted == nil || lastEnd.Truncate(time.Microsecond).After(noted.Time))
}

// note writes lastTaskTime, observedGeneration and the limits in effect.
func (b *Binder) note(ctx context.Context, key types.NamespacedName) error {
	sandbox, err := b.config.Sandboxes.Sandboxes(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up sandbox %s: %w", key, err)
	}
	_, lastEnd := b.config.Tasks.Activity(key)
	_, err = b.write(ctx, sandbox, func(latest *v1alpha1.Sandbox) bool {
		if latest.Status.Phase != v1alpha1.SandboxReady {
			return false
		}
		ended := endedSince(latest, lastEnd)
		pool := b.pool(latest)
		if !ended && limitsStored(latest, pool) && latest.Status.ObservedGeneration == latest.Generation {
			return false
		}
		if ended {
			end := metav1.NewMicroTime(lastEnd)
			latest.Status.LastTaskTime = &end
		}
		latest.Status.ObservedGeneration = latest.Generation
		latest.Status.IdleTimeoutSeconds, latest.Status.ExpirationTime = limits(latest, pool)
		setReady(&latest.Status, metav1.ConditionTrue, b.config.Clock.Now())
		return true
	})
	return err
}

// retain keeps a sandbox that has failed for a while after its failure, and then deletes it.
func (b *Binder) retain(ctx context.Context, key types.NamespacedName, sandbox *v1alpha1.Sandbox) error {
	for _, what := range []string{timeAllocation, timeIdle, timeLifetime, timeNote, timeLabel} {
		b.config.Timers.Stop(timerKey{key, what})
	}
	if sandbox.Spec.KeepAlive {
		b.config.Timers.Stop(timerKey{key, timeRetention})
		return nil
	}
	end := failedSince(sandbox).Add(b.config.Retention)
	if b.config.Clock.Now().Before(end) {
		b.lookAt(key, timeRetention, end)
		return nil
	}
	return b.delete(ctx, sandbox, "it failed, and its retention is over")
}

// failedSince returns when a sandbox failed, as it is stored: a restart of the server does not begin
// its retention anew. A sandbox that failed before there was the condition Stalled has it from Ready,
// which may have become False earlier, when the sandbox began to wait.
func failedSince(sandbox *v1alpha1.Sandbox) time.Time {
	for _, kind := range []string{v1alpha1.ConditionStalled, v1alpha1.SandboxConditionReady} {
		if c := meta.FindStatusCondition(sandbox.Status.Conditions, kind); c != nil {
			return c.LastTransitionTime.Time
		}
	}
	return sandbox.CreationTimestamp.Time
}
