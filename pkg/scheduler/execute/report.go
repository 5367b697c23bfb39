package execute

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

const (
	// maxMessage bounds the task's message, and maxStepMessage that of each of
	// up to 256 steps: the object has to stay below the size the server takes.
	maxMessage     = 4 << 10
	maxStepMessage = 1 << 10
	// markerSlack is what the agent's line about missing bytes may take on top of the limit.
	markerSlack = 256
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

// report writes the end of a task. A slim report leaves out what can be large:
// it is for an object that the server would not take otherwise.
func (e *Executor) report(status *v1alpha1.TaskStatus, task *v1alpha1.Task, x *execution, v verdict, slim bool) {
	now := e.config.Clock.Now()
	if x != nil {
		e.place(status, x)
	}
	status.State, status.Reason, status.FailureClass = v.state, v.reason, v.class
	status.Message = clip(v.message, maxMessage)
	completed := metav1.NewMicroTime(now)
	status.CompletionTime = &completed
	status.ExitCode, status.Stdout, status.Stderr, status.Duration = nil, "", "", ""
	status.Steps = nil
	switch {
	case v.result != nil:
		status.ExitCode = v.result.ExitCode
		status.Duration = duration(v.result.DurationMicros)
		status.Steps = stepsOf(task, v.result.Steps, slim)
	case !v.begun:
		status.Steps = stepsOf(task, nil, slim)
	}
	switch {
	case v.result != nil && !slim:
		status.Stdout = bounded(v.result.Stdout, e.config.OutputLimit)
		status.Stderr = bounded(v.result.Stderr, e.config.OutputLimit)
	case slim:
		status.Message = clip("output is left out, as the task would be too large with it; "+status.Message, maxMessage)
	}
	succeeded := metav1.ConditionFalse
	if v.state == v1alpha1.TaskSucceeded {
		succeeded = metav1.ConditionTrue
	}
	setSucceeded(status, succeeded, now)
}

// retrying turns the report of a failed attempt into the status before the next.
func retrying(status *v1alpha1.TaskStatus, attempt int32, wait time.Duration) {
	status.Message = clip(fmt.Sprintf("attempt %d failed and another is made in %s: %s: %s", attempt, wait, status.Reason, status.Message), maxMessage)
	status.State, status.Reason = v1alpha1.TaskPending, v1alpha1.TaskReasonRetrying
	status.FailureClass, status.CompletionTime = "", nil
	status.Attempts = attempt
	for i := range status.Conditions {
		if condition := &status.Conditions[i]; condition.Type == v1alpha1.TaskConditionSucceeded {
			condition.Status, condition.Reason, condition.Message = metav1.ConditionUnknown, status.Reason, status.Message
		}
	}
}

// stepsOf returns the outcomes of all steps of the task, in its order. Those of
// which nothing is said were skipped.
func stepsOf(task *v1alpha1.Task, results []wire.StepResult, slim bool) []v1alpha1.TaskStepStatus {
	steps := make([]v1alpha1.TaskStepStatus, len(task.Spec.Steps))
	for i := range steps {
		steps[i] = v1alpha1.TaskStepStatus{Name: task.Spec.Steps[i].Name, State: v1alpha1.StepSkipped}
		if i < len(results) {
			fillStep(&steps[i], &results[i], slim)
		}
	}
	return steps
}

func fillStep(step *v1alpha1.TaskStepStatus, result *wire.StepResult, slim bool) {
	switch result.State {
	case wire.Succeeded:
		step.State = v1alpha1.StepSucceeded
	case wire.Skipped:
		return
	default:
		step.State = v1alpha1.StepFailed
		step.Reason = knownReason(result.Reason)
	}
	if !slim {
		step.Message = clip(result.Message, maxStepMessage)
	}
	step.ExitCode = result.ExitCode
	step.StdoutBytes, step.StderrBytes = max(result.StdoutBytes, 0), max(result.StderrBytes, 0)
	step.Duration = duration(result.DurationMicros)
	if !result.StartTime.IsZero() {
		started := metav1.NewMicroTime(result.StartTime)
		step.StartTime = &started
	}
}

func setSucceeded(status *v1alpha1.TaskStatus, succeeded metav1.ConditionStatus, now time.Time) {
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type:               v1alpha1.TaskConditionSucceeded,
		Status:             succeeded,
		ObservedGeneration: status.ObservedGeneration,
		LastTransitionTime: metav1.NewTime(now),
		Reason:             status.Reason,
		Message:            status.Message,
	})
}

func duration(micros int64) string {
	return (time.Duration(max(micros, 0)) * time.Microsecond).String()
}

// bounded returns output as text. The agent has bounded it already; one that
// has not is not trusted.
func bounded(output []byte, limit int) string {
	if len(output) <= limit+markerSlack {
		return strings.ToValidUTF8(string(output), "\uFFFD")
	}
	head, tail := output[:limit/2], output[len(output)-limit/2:]
	missing := len(output) - len(head) - len(tail)
	return strings.ToValidUTF8(fmt.Sprintf("%s\n... %d bytes are missing here ...\n%s", head, missing, tail), "\uFFFD")
}

// clip shortens a message, and makes it valid text.
func clip(message string, limit int) string {
	if len(message) > limit {
		message = message[:limit-3] + "..."
	}
	return strings.ToValidUTF8(message, "\uFFFD")
}
