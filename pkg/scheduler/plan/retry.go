package plan

import (
	"time"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// Waits between the attempts at a task: long enough for what was lost to be
// replaced, short beside what a task takes that is worth trying again.
const (
	firstRetryWait = 500 * time.Millisecond
	maxRetryWait   = 30 * time.Second
)

// Failure is how an attempt at a task failed.
type Failure struct {
	Class  v1alpha1.FailureClass
	Reason string
	// SandboxGone says that the sandbox will run nothing any more.
	SandboxGone bool
	// Final says that a limit or a decision of the user ended the attempt: another one would
	// disregard it.
	Final bool
}

// Attempt returns the number of the attempt that a task is at: the one that
// runs, or the one to be made next. The first is 1. It follows from the stored
// status alone, so that a restarted server asks the agent for the same execution.
func Attempt(status *v1alpha1.TaskStatus) int32 {
	if status.State == v1alpha1.TaskRunning {
		return max(status.Attempts, 1)
	}
	return status.Attempts + 1
}

// Retry says whether another attempt is made after the given number of them,
// and how long to wait before it.
func Retry(spec *v1alpha1.TaskSpec, attempts int32, failure Failure) (wait time.Duration, again bool) {
	switch {
	case attempts > spec.Retries, failure.Final:
		return 0, false
	case failure.Reason == v1alpha1.TaskReasonCancelled, failure.Reason == v1alpha1.TaskReasonInvalidStep:
		return 0, false
	case failure.Class != v1alpha1.FailureInfrastructure && spec.RetryPolicy != v1alpha1.RetryAlways:
		return 0, false
	case failure.SandboxGone && spec.PoolRef == "":
		return 0, false
	}
	return Backoff(int(attempts), firstRetryWait, maxRetryWait), true
}

// Backoff returns the wait after the given number of failures in a row: first,
// then double each time, at most limit.
func Backoff(failures int, first, limit time.Duration) time.Duration {
	wait := first
	for range failures - 1 {
		wait *= 2
		if wait >= limit {
			return limit
		}
	}
	return min(wait, limit)
}
