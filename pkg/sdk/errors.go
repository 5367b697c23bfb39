package sdk

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Errors that callers may want to tell apart with errors.Is. Whatever the server
// answered can be had with errors.As, too, or asked of k8s.io/apimachinery's
// errors.IsForbidden and its like.
var (
	// ErrClosed is returned by a session that was closed before or meanwhile.
	ErrClosed = errors.New("the session is closed")
	// ErrPoolNotFound is what every *PoolNotFoundError is.
	ErrPoolNotFound = errors.New("there is no such pool")
	// ErrConflict says that an object of the name was made by somebody else.
	ErrConflict = errors.New("the name is taken")
	// ErrUnavailable says that the server did not answer, or only that it
	// cannot, for as long as it was tried.
	ErrUnavailable = errors.New("the server is not available")
)

// PoolNotFoundError says that there is no pool of the name. It is ErrPoolNotFound.
type PoolNotFoundError struct {
	Namespace, Pool string
	// Available are the pools of the namespace, as far as they may be listed.
	Available []string
}

func (e *PoolNotFoundError) Error() string {
	text := fmt.Sprintf("there is no pool %q in namespace %q", e.Pool, e.Namespace)
	if len(e.Available) == 0 {
		return text + ": create it with Pools.Create or kubectl, or name the right namespace with WithNamespace"
	}
	return text + "; existing pools: " + strings.Join(e.Available, ", ") + ": name one of them, or create it with Pools.Create or kubectl"
}

// Is says that the error is ErrPoolNotFound.
func (e *PoolNotFoundError) Is(target error) bool { return target == ErrPoolNotFound }

// PoolFailedError says that a pool cannot start pods, so that waiting for one
// would be in vain until somebody changes it.
type PoolFailedError struct {
	Namespace, Pool string
	// Reason and Message are those of the pool's condition ReplicaFailure.
	Reason, Message string
}

func (e *PoolFailedError) Error() string {
	return fmt.Sprintf("pool %q in namespace %q cannot start pods: %s: %s: fix its spec.template; the server keeps retrying, see 'kubectl describe warmpool %s -n %s'",
		e.Pool, e.Namespace, e.Reason, e.Message, e.Pool, e.Namespace)
}

// SandboxFailedError says that a session's sandbox never came to be, or is gone.
type SandboxFailedError struct {
	Namespace, Sandbox string
	// Reason and Message are the server's.
	Reason, Message string
	// Result is what is known of the steps that ran, nil if none did.
	Result *Result
}

func (e *SandboxFailedError) Error() string {
	return fmt.Sprintf("sandbox %q in namespace %q: %s: %s: make a new session",
		e.Sandbox, e.Namespace, e.Reason, e.Message)
}

// TaskTimeoutError says that steps, or one of them, ran longer than they may.
type TaskTimeoutError struct {
	// Timeout is the session's. A step may have had a shorter one of its own.
	Timeout time.Duration
	// Result is what the steps did until then.
	Result *Result
}

func (e *TaskTimeoutError) Error() string {
	return fmt.Sprintf("task %q: %s: the session allows %s: give it WithTimeout, or the step a timeout of its own",
		e.Result.Task, e.Result.Message, e.Timeout)
}

// TaskFailedError says that a task ended for a reason that is neither its
// steps' nor its sandbox's: it was cancelled or deleted by somebody else, the
// agent refused a step, or was lost while steps may have run.
type TaskFailedError struct {
	Task string
	// Reason and Message are the server's.
	Reason, Message string
	// Result is what is known of the steps, nil if the task is gone.
	Result *Result
}

func (e *TaskFailedError) Error() string {
	return fmt.Sprintf("task %q: %s: %s: see 'kubectl get task %s -o yaml'", e.Task, e.Reason, e.Message, e.Task)
}

// StepFailedError is what Result.Err returns for steps that failed.
type StepFailedError struct{ Result *Result }

// maxQuoted bounds what of a command's output an error repeats.
const maxQuoted = 512

func (e *StepFailedError) Error() string {
	text := fmt.Sprintf("task %q: %s", e.Result.Task, e.Result.Message)
	said := strings.TrimSpace(e.Result.Stderr)
	if said == "" {
		return text
	}
	if len(said) > maxQuoted {
		said = "..." + strings.ToValidUTF8(said[len(said)-maxQuoted:], "")
	}
	return text + ": it wrote to standard error: " + said
}
