package execution

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"time"

	"arl.io/arl/pkg/agent/file"
	"arl.io/arl/pkg/agent/output"
	"arl.io/arl/pkg/agent/process"
	"arl.io/arl/pkg/agent/wire"
)

// killedCode is the exit code of a command that SIGKILL ended, and of a shell whose last command it ended.
const killedCode = 128 + int32(syscall.SIGKILL)

// maxMessage bounds the message of a step.
const maxMessage = 1 << 10

// runner is one execution under way. It belongs to one goroutine.
type runner struct {
	registry       *Registry
	log            *output.Log
	request        wire.Execution
	stdout, stderr *output.Summary
}

// run runs the steps of an execution, one after another, until one fails or ctx ends.
func (r *Registry) run(ctx context.Context, e *Execution) wire.ExecutionResult {
	limit := e.request.OutputLimitBytes
	if limit == 0 {
		limit = DefaultOutputLimit
	}
	running := &runner{
		registry: r, log: e.log, request: e.request,
		stdout: output.NewSummary(limit), stderr: output.NewSummary(limit),
	}
	if running.request.WorkDir == "" {
		running.request.WorkDir = "/"
	}
	if timeout := e.request.TimeoutMillis; timeout > 0 {
		bounded, cancel := withTimeout(ctx, "the execution", timeout)
		defer cancel()
		ctx = bounded
	}
	return running.all(ctx)
}

// withTimeout bounds ctx; its cause is a stop that says what timed out.
func withTimeout(ctx context.Context, what string, millis int64) (context.Context, context.CancelFunc) {
	timeout := time.Duration(millis) * time.Millisecond
	cause := &stop{reason: wire.ReasonTimeout, message: fmt.Sprintf("%s ran longer than its timeout of %s", what, timeout)}
	return context.WithTimeoutCause(ctx, timeout, cause)
}

// all runs all steps and returns the outcome.
func (r *runner) all(ctx context.Context) wire.ExecutionResult {
	begin := time.Now()
	r.log.Mark(wire.Event{Type: wire.EventStarted, Time: begin.UTC()})
	result := wire.ExecutionResult{State: wire.Succeeded, Steps: make([]wire.StepResult, 0, len(r.request.Steps))}
	for i, step := range r.request.Steps {
		if cause := stopped(ctx); cause != nil && result.State == wire.Succeeded {
			result.State, result.Reason, result.Message = wire.Failed, cause.reason, cause.message
		}
		if result.State == wire.Failed {
			result.Steps = append(result.Steps, wire.StepResult{Name: step.Name, State: wire.Skipped})
			continue
		}
		done := r.one(ctx, i)
		result.Steps = append(result.Steps, done)
		if done.State == wire.Failed {
			r.decide(ctx, &result, step, done)
		} else if done.ExitCode != nil {
			result.ExitCode = done.ExitCode
		}
	}
	result.Stdout, result.StdoutTruncated = r.stdout.Bytes()
	result.Stderr, result.StderrTruncated = r.stderr.Bytes()
	result.StdoutBytes, result.StderrBytes = r.stdout.Total(), r.stderr.Total()
	result.DurationMicros = time.Since(begin).Microseconds()
	return result
}

// decide says what a failed step means for the outcome: nothing if it may fail,
// unless it failed because the whole execution is to end.
func (r *runner) decide(ctx context.Context, result *wire.ExecutionResult, step wire.Step, done wire.StepResult) {
	if cause := stopped(ctx); cause != nil {
		result.State, result.Reason, result.Message = wire.Failed, cause.reason, cause.message
		result.ExitCode = done.ExitCode
		return
	}
	if step.ContinueOnFailure {
		if done.ExitCode != nil {
			result.ExitCode = done.ExitCode
		}
		return
	}
	result.State, result.Reason = wire.Failed, done.Reason
	result.Message = fmt.Sprintf("step %q: %s", step.Name, done.Message)
	result.ExitCode = done.ExitCode
}

// stopped returns why ctx ended, or nil if it has not.
func stopped(ctx context.Context) *stop {
	if ctx.Err() == nil {
		return nil
	}
	var cause *stop
	if !errors.As(context.Cause(ctx), &cause) {
		cause = &stop{reason: wire.ReasonCancelled, message: "the execution was cancelled"}
	}
	return cause
}

// one runs one step and tells of its beginning and end.
func (r *runner) one(ctx context.Context, index int) wire.StepResult {
	step := r.request.Steps[index]
	begin := time.Now()
	r.log.Mark(wire.Event{Type: wire.EventStepStarted, Time: begin.UTC(), Step: index})
	done := wire.StepResult{Name: step.Name, State: wire.Succeeded, StartTime: begin.UTC()}
	if step.TimeoutMillis > 0 {
		bounded, cancel := withTimeout(ctx, "the step", step.TimeoutMillis)
		defer cancel()
		ctx = bounded
	}
	if step.Type == wire.StepCommand {
		r.command(ctx, index, &done)
	} else if message, err := r.filePatch(step); err != nil {
		fail(&done, wire.ReasonStepFailed, err.Error())
	} else {
		done.Message = clip(message)
	}
	done.DurationMicros = time.Since(begin).Microseconds()
	r.log.Mark(wire.Event{Type: wire.EventStepFinished, Time: time.Now().UTC(), Step: index, StepDone: &done})
	return done
}

func fail(done *wire.StepResult, reason, message string) {
	done.State, done.Reason, done.Message = wire.Failed, reason, clip(message)
}

func clip(message string) string {
	const more = "..."
	if len(message) > maxMessage {
		return strings.ToValidUTF8(message[:maxMessage-len(more)], "") + more
	}
	return message
}

// command runs a step of type Command.
func (r *runner) command(ctx context.Context, index int, done *wire.StepResult) {
	step := r.request.Steps[index]
	dir, err := r.registry.config.Files.MakeDir(file.Join(r.request.WorkDir, step.WorkDir))
	if err != nil {
		fail(done, wire.ReasonStepFailed, "workDir: "+err.Error())
		return
	}
	stdout := r.sink(ctx, sink{step: index, stream: wire.Stdout, summary: r.stdout, written: &done.StdoutBytes})
	stderr := r.sink(ctx, sink{step: index, stream: wire.Stderr, summary: r.stderr, written: &done.StderrBytes})
	kills := r.registry.config.Memory.Kills()
	result, err := r.registry.config.Supervisor.Run(ctx, process.Command{
		ID:     r.request.ID,
		Args:   step.Command,
		Env:    r.registry.env.with(dir, r.request.Env, step.Env),
		Dir:    dir,
		Stdin:  step.Stdin,
		Stdout: stdout,
		Stderr: stderr,
		Linger: r.registry.config.Linger,
		Grace:  r.grace(),
	})
	if err != nil {
		startFailed(done, err)
		return
	}
	done.ExitCode = &result.ExitCode
	outOfMemory := result.ExitCode != 0 && r.registry.config.Memory.Kills() > kills
	switch cause := stopped(ctx); {
	case result.Stopped:
		fail(done, cause.reason, cause.message)
	case outOfMemory && result.ExitCode == killedCode:
		// The command itself, or the last one of a shell.
		fail(done, wire.ReasonStepFailed, r.registry.config.Memory.Explain())
	case outOfMemory:
		fail(done, wire.ReasonStepFailed, fmt.Sprintf("the command exited with code %d, and memory ran out while it ran: %s",
			result.ExitCode, r.registry.config.Memory.Explain()))
	case result.Signal != 0:
		fail(done, wire.ReasonStepFailed, fmt.Sprintf("the command was ended by signal %d (%s)", int(result.Signal), result.Signal))
	case result.ExitCode != 0:
		fail(done, wire.ReasonStepFailed, fmt.Sprintf("the command exited with code %d", result.ExitCode))
	}
}

// grace returns the time between TERM and KILL.
func (r *runner) grace() time.Duration {
	if r.request.GraceMillis == nil {
		return r.registry.config.Grace
	}
	return time.Duration(*r.request.GraceMillis) * time.Millisecond
}

// startFailed notes why a command was not started.
func startFailed(done *wire.StepResult, err error) {
	reason := wire.ReasonStepFailed
	var start *process.StartError
	if errors.As(err, &start) {
		if start.Invalid {
			reason = wire.ReasonInvalidStep
		}
		if start.ExitCode != 0 {
			done.ExitCode = &start.ExitCode
		}
	}
	fail(done, reason, err.Error())
}

// sink is where one stream of a command goes.
type sink struct {
	step    int
	stream  string
	summary *output.Summary
	written *int64
}

// sink returns the function that takes what a command writes.
func (r *runner) sink(ctx context.Context, to sink) func([]byte) {
	return func(data []byte) {
		to.summary.Write(data)
		chunk := &wire.Output{Stream: to.stream, Offset: *to.written, Data: append([]byte(nil), data...)}
		*to.written += int64(len(data))
		r.log.Output(ctx, wire.Event{Type: wire.EventOutput, Time: time.Now().UTC(), Step: to.step, Output: chunk})
	}
}

// filePatch runs a step of type FilePatch. The message says where a patch was applied
// otherwise than it says.
func (r *runner) filePatch(step wire.Step) (message string, err error) {
	var mode *fs.FileMode
	if step.Mode != nil {
		bits := fs.FileMode(*step.Mode)
		mode = &bits
	}
	name := file.Join(r.request.WorkDir, step.Path)
	if step.Patch != nil {
		return r.registry.config.Files.Patch(name, *step.Patch, mode)
	}
	return "", r.registry.config.Files.Write(name, []byte(*step.Content), mode)
}
