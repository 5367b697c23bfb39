package execute

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// What a status may take. Validation of the API keeps room for it beside the spec: whoever changes
// one changes the other.
const (
	// maxMessage bounds the task's message, maxStepMessage that of one of up to 256 steps, and
	// maxStepMessages those of all of them together.
	maxMessage      = 4 << 10
	maxStepMessage  = 1 << 10
	maxStepMessages = 64 << 10
	// leastMessage bounds the message of a report that has nothing else.
	leastMessage = 512
	// markerSlack is what the agent's line about missing bytes may take on top of the limit.
	markerSlack = 256
)

// detail is how much a report says. The server takes every full one, except of an object that was
// stored by an earlier version, which did not keep room for it.
type detail int

const (
	full detail = iota
	// slim leaves out output and the messages of steps.
	slim
	// least leaves out the steps, too, and everything else that an agent has said. Nothing is left
	// that an agent could make invalid.
	least
)

// place writes where and when an execution was started.
func (e *Executor) place(status *v1alpha1.TaskStatus, x *execution) {
	status.SandboxName = x.sandbox.Name
	status.PodName = x.id.pod.Name
	status.Attempts = x.attempt
	if status.StartTime == nil {
		started := metav1.NewMicroTime(x.startedAt)
		status.StartTime = &started
	}
}

// report writes the end of a task.
func (e *Executor) report(status *v1alpha1.TaskStatus, task *v1alpha1.Task, x *execution, v verdict, d detail) {
	now := e.config.Clock.Now()
	if x != nil {
		e.place(status, x)
	}
	status.State, status.Reason, status.FailureClass = v.state, v.reason, v.class
	status.Message = clip(v.message, maxMessage)
	completed := metav1.NewMicroTime(now)
	status.CompletionTime = &completed
	status.ExitCode, status.Stdout, status.Stderr, status.Duration = nil, "", "", ""
	status.Steps, status.Output = nil, nil
	switch {
	case v.result != nil:
		status.ExitCode = exitCode(v.result.ExitCode)
		status.Duration = duration(v.result.DurationMicros)
		status.Steps = stepsOf(task, v.result.Steps, d >= slim)
		reportOutput(status, v.result, e.config.OutputLimit, d >= slim)
	case !v.begun:
		status.Steps = stepsOf(task, nil, d >= slim)
	}
	if d >= slim {
		status.Message = clip("output and details are left out, as the task would be too large with them; "+status.Message, maxMessage)
	}
	if d == least {
		status.Message, status.Steps = clip(status.Message, leastMessage), nil
		if v.result != nil {
			status.Message = "all details are left out, as the server refuses the status with them"
			status.ExitCode, status.Duration, status.Output = nil, "", nil
		}
	}
	succeeded := metav1.ConditionFalse
	if v.state == v1alpha1.TaskSucceeded {
		succeeded = metav1.ConditionTrue
	}
	setConditions(status, succeeded, now)
}

// retrying turns the report of a failed attempt into the status before the next.
func retrying(status *v1alpha1.TaskStatus, attempt int32, wait time.Duration, now time.Time) {
	status.Message = clip(fmt.Sprintf("attempt %d failed and another is made in %s: %s: %s", attempt, wait, status.Reason, status.Message), maxMessage)
	status.State, status.Reason = v1alpha1.TaskPending, v1alpha1.TaskReasonRetrying
	status.FailureClass, status.CompletionTime = "", nil
	status.Attempts = attempt
	setConditions(status, metav1.ConditionUnknown, now)
}

// stepsOf returns the outcomes of all steps of the task, in its order. Those of
// which nothing is said were skipped.
func stepsOf(task *v1alpha1.Task, results []wire.StepResult, silent bool) []v1alpha1.TaskStepStatus {
	steps := make([]v1alpha1.TaskStepStatus, len(task.Spec.Steps))
	room := maxStepMessages
	if silent {
		room = 0
	}
	for i := range steps {
		steps[i] = v1alpha1.TaskStepStatus{Name: task.Spec.Steps[i].Name, State: v1alpha1.StepSkipped}
		if i < len(results) {
			fillStep(&steps[i], &results[i], min(room, maxStepMessage))
			room -= len(steps[i].Message)
		}
	}
	return steps
}

// fillStep fills in the outcome of a step, with a message of at most so many bytes.
func fillStep(step *v1alpha1.TaskStepStatus, result *wire.StepResult, room int) {
	switch result.State {
	case wire.Succeeded:
		step.State = v1alpha1.StepSucceeded
	case wire.Skipped:
		return
	default:
		step.State = v1alpha1.StepFailed
		step.Reason = knownReason(result.Reason)
	}
	step.Message = clip(result.Message, room)
	step.ExitCode = exitCode(result.ExitCode)
	step.StdoutBytes, step.StderrBytes = byteCount(result.StdoutBytes), byteCount(result.StderrBytes)
	step.Duration = duration(result.DurationMicros)
	if !result.StartTime.IsZero() {
		started := metav1.NewMicroTime(result.StartTime)
		step.StartTime = &started
	}
}

// setConditions makes the conditions say what the status says: Succeeded, and for tools that read
// the health of objects they know nothing about Reconciling until the task ends, and Stalled if it failed.
func setConditions(status *v1alpha1.TaskStatus, succeeded metav1.ConditionStatus, now time.Time) {
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
	set(v1alpha1.TaskConditionSucceeded, succeeded)
	present, absent := v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled
	switch succeeded {
	case metav1.ConditionTrue:
		meta.RemoveStatusCondition(&status.Conditions, present)
		meta.RemoveStatusCondition(&status.Conditions, absent)
		return
	case metav1.ConditionFalse:
		present, absent = absent, present
	}
	set(present, metav1.ConditionTrue)
	meta.RemoveStatusCondition(&status.Conditions, absent)
}

// clip shortens a message, and makes it valid text. It cuts no character in two.
func clip(message string, limit int) string {
	const mark = "..."
	switch {
	case len(message) <= limit:
		return strings.ToValidUTF8(message, "\uFFFD")
	case limit < len(mark):
		return ""
	}
	cut := runeStart(message, limit-len(mark))
	// What is not valid becomes longer when it is replaced.
	return strings.ToValidUTF8(message[:cut], "?") + mark
}

// runeStart returns the largest index up to at where no character of valid text is cut in two.
func runeStart(text string, at int) int {
	if at >= len(text) {
		return len(text)
	}
	for back := range min(utf8.UTFMax, at+1) {
		if utf8.RuneStart(text[at-back]) {
			if r, _ := utf8.DecodeRuneInString(text[at-back:]); r != utf8.RuneError {
				return at - back
			}
			break
		}
	}
	return at
}
