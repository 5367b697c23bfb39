package sdk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// Execute runs steps in the session, one after another, and returns how they
// went. A step that fails ends them, unless it says otherwise; that is no error
// but a Result whose Succeeded is false, and whose Err is an error for those who
// want one. Calls at the same time run at the same time, see WithMaxConcurrentTasks.
//
// An error says that there is no telling how the steps would have gone: a
// *TaskTimeoutError if they took too long, a *SandboxFailedError if the sandbox is
// gone, a *TaskFailedError for anything else that ended them, ErrClosed,
// ErrUnavailable, the context's error, or what the server has against the steps.
// With the first three there is a Result with what is known, unless nothing is. When ctx
// ends the steps are stopped, as far as the server can be reached.
//
// The server may be killed and started again meanwhile: the steps are not run
// twice, and Execute returns how they went.
func (s *Session) Execute(ctx context.Context, steps ...Step) (*Result, error) {
	if s.isClosed() {
		return nil, fmt.Errorf("execute in session %q: %w", s.sandbox.Name, ErrClosed)
	}
	task := &v1alpha1.Task{
		ObjectMeta: metav1.ObjectMeta{Name: uniqueName(s.sandbox.Name)},
		Spec: v1alpha1.TaskSpec{
			SandboxRef: s.sandbox.Name, Steps: named(steps), Timeout: s.settings.timeout.String(),
			TerminationGracePeriodSeconds: s.settings.grace, RetentionPolicy: s.settings.retention,
		},
	}
	what := fmt.Sprintf("task %q in namespace %q", task.Name, s.settings.namespace)
	created, err := create(ctx, s.link, s.api.tasks, what, task)
	if err != nil {
		return nil, err
	}
	ended, err := await(ctx, s.link, s.api.tasks, what, created, hasEnded)
	switch {
	case err == nil:
		return s.judge(ctx, ended)
	case errors.Is(err, errGone):
		return nil, &TaskFailedError{Task: task.Name, Reason: "Deleted", Message: "somebody deleted it, or it was kept for too short a time, before its outcome was read"}
	case ctx.Err() != nil:
		return nil, withCleanup(err, s.cancel(context.WithoutCancel(ctx), task.Name))
	}
	return nil, err
}

func hasEnded(task *v1alpha1.Task) (bool, error) {
	return task.Status.State == v1alpha1.TaskSucceeded || task.Status.State == v1alpha1.TaskFailed, nil
}

// judge says what the end of a task means to the caller.
func (s *Session) judge(ctx context.Context, task *v1alpha1.Task) (*Result, error) {
	result := resultOf(task)
	if result.Reason != v1alpha1.TaskReasonSandboxNotFound {
		s.usedAt(task.Status.CompletionTime)
	}
	if result.Succeeded() {
		return result, nil
	}
	switch result.Reason {
	case v1alpha1.TaskReasonStepFailed:
		return result, nil
	case v1alpha1.TaskReasonTimeout:
		return result, &TaskTimeoutError{Timeout: s.settings.timeout, Result: result}
	case v1alpha1.TaskReasonSandboxNotFound:
		return result, s.lost(result, s.whyGone(task))
	case v1alpha1.TaskReasonSandboxFailed, v1alpha1.TaskReasonSandboxDeleted,
		v1alpha1.TaskReasonSandboxExpired, v1alpha1.TaskReasonAllocationTimeout:
		return result, s.lost(result, result.Message)
	case v1alpha1.TaskReasonAgentLost, v1alpha1.TaskReasonAgentProtocolViolation:
		if s.sandboxGone(ctx) {
			return result, s.lost(result, result.Message)
		}
	}
	return result, &TaskFailedError{Task: result.Task, Reason: result.Reason, Message: result.Message, Result: result}
}

// lost is the error of steps whose sandbox is gone.
func (s *Session) lost(result *Result, message string) error {
	if s.isClosed() {
		return fmt.Errorf("task %q in session %q: %w", result.Task, s.sandbox.Name, ErrClosed)
	}
	return s.failed(result.Reason, message, result)
}

// usedAt records that the sandbox was in use.
func (s *Session) usedAt(when *metav1.MicroTime) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if when != nil && when.After(s.used) {
		s.used = when.Time
	}
}

// clockUnit is the unit of creation times.
const clockUnit = time.Second

// whyGone says what ended a sandbox that a task did not find, as far as the server's clock tells.
func (s *Session) whyGone(task *v1alpha1.Task) string {
	s.usedAt(s.sandbox.Status.AllocatedTime)
	s.mu.Lock()
	unused := task.CreationTimestamp.Sub(s.used)
	s.mu.Unlock()
	spec, status := &s.sandbox.Spec, &s.sandbox.Status
	idle := status.IdleTimeoutSeconds
	if idle == nil {
		idle = spec.IdleTimeoutSeconds
	}
	switch {
	case status.ExpirationTime != nil && !task.CreationTimestamp.Add(clockUnit).Before(status.ExpirationTime.Time):
		return fmt.Sprintf("it had reached the end of its lifetime, %s", status.ExpirationTime.UTC().Format(time.RFC3339))
	case idle != nil && unused >= time.Duration(*idle)*time.Second-clockUnit:
		return fmt.Sprintf("the server deletes it after %d s without steps, see WithIdleTimeout", *idle)
	}
	return fmt.Sprintf("somebody deleted it, %.0f s after its last steps", max(0, unused.Seconds()))
}

// sandboxGone says whether the sandbox is known to run nothing any more.
func (s *Session) sandboxGone(ctx context.Context) bool {
	latest, err := read(ctx, s.link, s.api.sandboxes, s.describe(s.sandbox.Name), s.sandbox)
	return errors.Is(err, errGone) || err == nil && latest.Status.Phase == v1alpha1.SandboxFailed
}

var cancelPatch = []byte(`{"spec":{"cancel":true}}`)

// cancel has the server stop a task that nobody waits for any more, so that it
// does not keep those after it from their turn.
func (s *Session) cancel(ctx context.Context, task string) error {
	return cleanup.try(ctx, fmt.Sprintf("cancel task %q", task), func(ctx context.Context) error {
		_, err := s.api.tasks.Patch(ctx, task, types.MergePatchType, cancelPatch, metav1.PatchOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
}

// Run runs one script of at most 1 MiB with the sandbox's "sh". It is Execute of a Shell step.
func (s *Session) Run(ctx context.Context, script string) (*Result, error) {
	return s.Execute(ctx, Shell(script))
}

// WriteFile writes a file as a whole, as os.WriteFile does; perm, unlike there,
// is not subject to a umask, and 0 leaves an existing file its own. The path is
// absolute or relative to the work directory; missing directories are made. The
// content must be UTF-8 text of at most 1 MiB. Unlike Execute, WriteFile returns
// an error, a *StepFailedError, if the file cannot be written.
func (s *Session) WriteFile(ctx context.Context, path string, content []byte, perm fs.FileMode) error {
	if !utf8.Valid(content) {
		return fmt.Errorf("write file %q: its content is not UTF-8 text, which is all that a step can carry: "+
			"write it in base64, and decode that with a command", path)
	}
	step := File(path, string(content))
	if perm != 0 {
		step.Mode = ptr.To(int32(perm.Perm()))
	}
	result, err := s.Execute(ctx, step)
	if err == nil {
		err = result.Err()
	}
	if err != nil {
		return fmt.Errorf("write file %q: %w", path, err)
	}
	return nil
}
