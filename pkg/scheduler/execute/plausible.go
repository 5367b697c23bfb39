package execute

import (
	"math"
	"time"

	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/agent/wire"
)

const (
	// maxBytes bounds a count of bytes: what a step could write in a day at 10 GB a second. The sum of
	// those of all steps does not overflow.
	maxBytes = 1 << 50
	// maxExitCode is that of Linux.
	maxExitCode = 255
)

// span is the time in which steps may have run, by the server's clock. An agent's own clock may be
// wrong, or its word.
type span struct{ from, to time.Time }

// earliestStart returns when the steps of an execution may have begun that this server starts, or
// takes up, at the given time.
func earliestStart(t *entry, startedAt time.Time) time.Time {
	earliest := startedAt
	if t.begun || t.restored {
		earliest = t.task.CreationTimestamp.Time
		if first := t.task.Status.StartTime; first != nil {
			earliest = first.Time
		}
	}
	if earliest.IsZero() || earliest.After(startedAt) {
		return startedAt
	}
	return earliest
}

func (e *Executor) spanOf(x *execution) span {
	return span{from: x.earliest, to: e.config.Clock.Now()}
}

// clamp returns the time of the span that is the nearest to at. It is of the years that every
// encoding can hold, as the server's own are.
func (s span) clamp(at time.Time) time.Time {
	switch {
	case at.After(s.to):
		at = s.to
	case at.Before(s.from):
		at = s.from
	}
	return at.UTC()
}

// micros returns a duration that is not negative and not longer than the span, in microseconds.
func (s span) micros(micros int64) int64 {
	return min(max(micros, 0), max(s.to.Sub(s.from).Microseconds(), 0))
}

// plausible returns an outcome that can be stored and read by everyone, whatever the agent has said:
// times and durations in the span of the execution, exit codes of Linux, counts of bytes that can be.
// Texts and lists are bounded by package client.
func (e *Executor) plausible(x *execution, result wire.ExecutionResult) wire.ExecutionResult {
	s := e.spanOf(x)
	result.ExitCode = exitCode(result.ExitCode)
	result.StdoutBytes, result.StderrBytes = byteCount(result.StdoutBytes), byteCount(result.StderrBytes)
	result.DurationMicros = s.micros(result.DurationMicros)
	steps := make([]wire.StepResult, min(len(result.Steps), len(x.task.Spec.Steps)))
	for i := range steps {
		steps[i] = s.step(result.Steps[i])
	}
	result.Steps = steps
	return result
}

// step is plausible for one step.
func (s span) step(step wire.StepResult) wire.StepResult {
	step.ExitCode = exitCode(step.ExitCode)
	step.StdoutBytes, step.StderrBytes = byteCount(step.StdoutBytes), byteCount(step.StderrBytes)
	step.DurationMicros = s.micros(step.DurationMicros)
	if !step.StartTime.IsZero() {
		step.StartTime = s.clamp(step.StartTime)
	}
	return step
}

func exitCode(code *int32) *int32 {
	if code == nil || *code >= 0 && *code <= maxExitCode {
		return code
	}
	return ptr.To[int32](maxExitCode)
}

func byteCount(bytes int64) int64 { return min(max(bytes, 0), maxBytes) }

// duration returns a number of microseconds as a Go duration string, which validation accepts.
func duration(micros int64) string {
	return (time.Duration(min(max(micros, 0), math.MaxInt64/int64(time.Microsecond))) * time.Microsecond).String()
}
