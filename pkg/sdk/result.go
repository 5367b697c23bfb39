package sdk

import (
	"time"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// NoExitCode is the ExitCode of what ran no command, or did not run to its end.
const NoExitCode = -1

// Result is how the steps of one Execute went.
type Result struct {
	// Task is the name of the Task object that ran the steps, which is kept for
	// a while: "kubectl get task NAME -o yaml" shows all there is to know.
	Task string
	// Stdout and Stderr are what the steps wrote, one after another, byte for byte: they need not be
	// UTF-8. Of long output the head and the tail are kept, with a line between them that says how
	// much is missing; then the stream's Truncated is true.
	Stdout, Stderr string
	// StdoutBytes and StderrBytes are how much the steps wrote, whatever of it was kept.
	StdoutBytes, StderrBytes int64
	// StdoutTruncated and StderrTruncated say that something is missing.
	StdoutTruncated, StderrTruncated bool
	// ExitCode is that of the step that decided the outcome, or of the last one
	// that ran: 128 plus the signal's number if a signal ended it, or NoExitCode.
	ExitCode int
	// Reason says in one word how it ended, and Message the same for humans.
	Reason, Message string
	// Duration is how long the steps ran.
	Duration time.Duration
	// Steps are the outcomes of the steps, in their order.
	Steps []StepResult

	succeeded bool
}

// StepResult is how one step went.
type StepResult struct {
	Name string
	// State is Succeeded, Failed or Skipped. It is Pending or Running if
	// nobody knows how the step ended.
	State v1alpha1.StepState
	// Reason says in one word why a step failed, and Message the same for humans.
	Reason, Message string
	// ExitCode is the command's, or NoExitCode.
	ExitCode int
	// StdoutBytes and StderrBytes are how much the step wrote, whatever of it was kept.
	StdoutBytes, StderrBytes int64
	Duration                 time.Duration
}

// Succeeded says whether every step succeeded, or was allowed to fail.
func (r *Result) Succeeded() bool { return r.succeeded }

// Err returns nil if the steps succeeded and a *StepFailedError otherwise, for
// callers who take a command that fails for an error.
func (r *Result) Err() error {
	if r.succeeded {
		return nil
	}
	return &StepFailedError{Result: r}
}

// resultOf reads a task that has ended.
func resultOf(task *v1alpha1.Task) *Result {
	status := &task.Status
	r := &Result{
		Task:      task.Name,
		ExitCode:  exitCode(status.ExitCode),
		Reason:    status.Reason,
		Message:   status.Message,
		Duration:  duration(status.Duration),
		succeeded: status.State == v1alpha1.TaskSucceeded,
	}
	output := &v1alpha1.TaskOutput{}
	if status.Output != nil {
		output = status.Output
	}
	r.Stdout, r.StdoutBytes, r.StdoutTruncated = stream(status.Stdout, output.Stdout)
	r.Stderr, r.StderrBytes, r.StderrTruncated = stream(status.Stderr, output.Stderr)
	for _, step := range status.Steps {
		r.Steps = append(r.Steps, StepResult{
			Name:        step.Name,
			State:       step.State,
			Reason:      step.Reason,
			Message:     step.Message,
			ExitCode:    exitCode(step.ExitCode),
			StdoutBytes: step.StdoutBytes,
			StderrBytes: step.StderrBytes,
			Duration:    duration(step.Duration),
		})
	}
	return r
}

// stream returns what was kept of a stream, how much was written, and whether something is missing.
func stream(text string, described v1alpha1.TaskStream) (kept string, written int64, truncated bool) {
	if described.Data != nil {
		text = string(described.Data)
	}
	if described.Truncated {
		return text, described.Bytes, true
	}
	return text, int64(len(text)), false
}

func exitCode(code *int32) int {
	if code == nil {
		return NoExitCode
	}
	return int(*code)
}

// duration reads what the server wrote. It writes nothing that cannot be read;
// how long something took is not worth losing its outcome.
func duration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0
	}
	return d
}
