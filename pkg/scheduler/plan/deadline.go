package plan

import (
	"time"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

const (
	// DefaultIdleTimeout ends a sandbox that is not kept alive and for which
	// neither itself nor its pool says otherwise.
	DefaultIdleTimeout = 60 * time.Second
	// DefaultTaskTimeout bounds a task whose timeout is not set. The API
	// server sets it on every task; this is for objects that predate that.
	DefaultTaskTimeout = 5 * time.Minute
	// DefaultTaskGrace is the same for terminationGracePeriodSeconds.
	DefaultTaskGrace = time.Duration(v1alpha1.DefaultTerminationGracePeriodSeconds) * time.Second
)

// resolution is that of metadata.creationTimestamp, which is rounded down.
const resolution = time.Second

// AllocationDeadline returns when a sandbox that waits for a pod gives up, or
// false if it never does: not before the whole timeout has passed since its
// creation, but at once if the timeout is 0. Pool may be nil.
func AllocationDeadline(sandbox *v1alpha1.Sandbox, pool *v1alpha1.WarmPool) (time.Time, bool) {
	own := sandbox.Spec.AllocationTimeoutSeconds
	if own == nil && pool != nil {
		own = pool.Spec.AllocationTimeoutSeconds
	}
	since := sandbox.CreationTimestamp.Time
	if own != nil && *own > 0 {
		since = since.Add(resolution)
	}
	return after(since, own)
}

// IdleTimeout returns the idle timeout of a sandbox that is in effect, in seconds, or nil if idleness
// does not end it. Pool may be nil.
func IdleTimeout(sandbox *v1alpha1.Sandbox, pool *v1alpha1.WarmPool) *int32 {
	own := sandbox.Spec.IdleTimeoutSeconds
	switch {
	case own != nil || sandbox.Spec.KeepAlive:
		return own
	case pool != nil && pool.Spec.IdleTimeoutSeconds != nil:
		return pool.Spec.IdleTimeoutSeconds
	default:
		usual := int32(DefaultIdleTimeout / time.Second)
		return &usual
	}
}

// IdleDeadline returns when a sandbox that has been idle since the given time
// is deleted, or false if idleness does not end it. Pool may be nil.
func IdleDeadline(sandbox *v1alpha1.Sandbox, pool *v1alpha1.WarmPool, since time.Time) (time.Time, bool) {
	return after(since, IdleTimeout(sandbox, pool))
}

// LifetimeDeadline returns when a sandbox is deleted whatever runs in it, or
// false if never. Pool may be nil.
func LifetimeDeadline(sandbox *v1alpha1.Sandbox, pool *v1alpha1.WarmPool) (time.Time, bool) {
	if sandbox.Status.AllocatedTime == nil {
		return time.Time{}, false
	}
	own := sandbox.Spec.MaxLifetimeSeconds
	if own == nil && pool != nil {
		own = pool.Spec.MaxLifetimeSeconds
	}
	return after(sandbox.Status.AllocatedTime.Time, own)
}

// Expired says whether a sandbox has reached its maximum lifetime. Pool may be nil.
func Expired(sandbox *v1alpha1.Sandbox, pool *v1alpha1.WarmPool, now time.Time) bool {
	deadline, bounded := LifetimeDeadline(sandbox, pool)
	return bounded && !now.Before(deadline)
}

// Expiry returns when a finished task is deleted: its own TTL, else the server's retention, after
// its end. It returns false if the task is kept until a client deletes it.
func Expiry(task *v1alpha1.Task, retention time.Duration) (time.Time, bool) {
	if Retained(task) {
		return time.Time{}, false
	}
	if own := task.Spec.TTLSecondsAfterFinished; own != nil {
		return Ended(task).Add(time.Duration(*own) * time.Second), true
	}
	return Ended(task).Add(retention), true
}

// Retained says whether only a client deletes a task.
func Retained(task *v1alpha1.Task) bool { return task.Spec.RetentionPolicy == v1alpha1.RetentionRetain }

// Ended returns when a finished task ended.
func Ended(task *v1alpha1.Task) time.Time {
	if task.Status.CompletionTime != nil {
		return task.Status.CompletionTime.Time
	}
	return task.CreationTimestamp.Time
}

// TaskGrace returns the time between TERM and KILL when the steps of a task are stopped.
func TaskGrace(task *v1alpha1.Task) time.Duration {
	if own := task.Spec.TerminationGracePeriodSeconds; own != nil {
		return time.Duration(*own) * time.Second
	}
	return DefaultTaskGrace
}

// TaskTimeout returns how long all steps of a task may run.
func TaskTimeout(task *v1alpha1.Task) time.Duration {
	if timeout := Timeout(task.Spec.Timeout); timeout > 0 {
		return timeout
	}
	return DefaultTaskTimeout
}

// Timeout reads a timeout of the API; 0 means that none is set. Validation has
// seen to it that the string is good.
func Timeout(text string) time.Duration {
	timeout, err := time.ParseDuration(text)
	if err != nil {
		return 0
	}
	return timeout
}

// Finished says whether a task has ended.
func Finished(task *v1alpha1.Task) bool {
	return task.Status.State == v1alpha1.TaskSucceeded || task.Status.State == v1alpha1.TaskFailed
}

func after(since time.Time, seconds *int32) (time.Time, bool) {
	if seconds == nil {
		return time.Time{}, false
	}
	return since.Add(time.Duration(*seconds) * time.Second), true
}
