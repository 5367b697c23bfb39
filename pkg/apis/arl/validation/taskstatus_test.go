package validation

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl"
)

func TestValidateTaskStatusUpdate(t *testing.T) {
	done := arl.TaskStatus{State: arl.TaskSucceeded}
	for _, tc := range []struct {
		name     string
		old, now arl.TaskStatus
		want     []string
	}{
		{name: "empty"},
		{name: "full", old: arl.TaskStatus{State: arl.TaskRunning}, now: arl.TaskStatus{
			ObservedGeneration: 1, State: arl.TaskFailed, FailureClass: arl.FailureUser, ExitCode: ptr.To[int32](-1), Attempts: 2, Duration: "1.5s",
			Steps: []arl.TaskStepStatus{{Name: "run", State: arl.StepFailed, StdoutBytes: 1 << 40, Duration: "3ms"}, {Name: "b", State: arl.StepSkipped}},
			Conditions: []metav1.Condition{{Type: arl.TaskConditionSucceeded, Status: metav1.ConditionFalse,
				Reason: arl.TaskReasonStepFailed, LastTransitionTime: metav1.Now()}},
		}},
		{name: "another attempt", old: arl.TaskStatus{State: arl.TaskRunning}, now: arl.TaskStatus{State: arl.TaskPending}},
		{name: "final state kept", old: done, now: arl.TaskStatus{State: arl.TaskSucceeded, ObservedGeneration: 2}},
		{name: "final state changed", old: done, now: arl.TaskStatus{State: arl.TaskFailed},
			want: []string{`status.state: Invalid value: "Failed": must stay "Succeeded" once set`}},
		{name: "run again", old: arl.TaskStatus{State: arl.TaskFailed}, now: arl.TaskStatus{State: arl.TaskRunning},
			want: []string{`status.state: Invalid value: "Running": must stay "Failed" once set`}},
		{name: "final state unset", old: done,
			want: []string{`status.state: Invalid value: "": must stay "Succeeded" once set`}},
		{name: "unknown words", now: arl.TaskStatus{State: "Done", FailureClass: "Nobody", Steps: []arl.TaskStepStatus{{Name: "a"}}}, want: []string{
			`status.state: Unsupported value: "Done": supported values: "Pending", "Running", "Succeeded", "Failed"`,
			`status.failureClass: Unsupported value: "Nobody": supported values: "User", "Infrastructure"`,
			`status.steps[0].state: Unsupported value: "": supported values: "Pending", "Running", "Succeeded", "Failed", "Skipped"`,
		}},
		{name: "negative numbers", now: arl.TaskStatus{ObservedGeneration: -1, Attempts: -1, Duration: "-1s",
			Steps: []arl.TaskStepStatus{{Name: "a", State: arl.StepRunning, StdoutBytes: -1, StderrBytes: -2, Duration: "-1s"}}}, want: []string{
			`status.observedGeneration: Invalid value: -1: must be greater than or equal to 0`,
			`status.attempts: Invalid value: -1: must be greater than or equal to 0`,
			`status.duration: Invalid value: "-1s": must be a Go duration string such as "1.5s", and not negative`,
			`status.steps[0].stderrBytes: Invalid value: -2: must be greater than or equal to 0`,
			`status.steps[0].stdoutBytes: Invalid value: -1: must be greater than or equal to 0`,
			`status.steps[0].duration: Invalid value: "-1s": must be a Go duration string such as "1.5s", and not negative`,
		}},
		{name: "step without name", now: arl.TaskStatus{Steps: []arl.TaskStepStatus{{State: arl.StepPending}}},
			want: []string{`status.steps[0].name: Required value: must tell the steps of the task apart`}},
		{name: "257 steps", now: arl.TaskStatus{Steps: make([]arl.TaskStepStatus, 257)},
			want: []string{`status.steps: Too many: 257: must have at most 256 items`}},
		{name: "condition without time", now: arl.TaskStatus{Conditions: []metav1.Condition{{Type: "Succeeded", Status: metav1.ConditionUnknown, Reason: "Running"}}},
			want: []string{`status.conditions[0].lastTransitionTime: Required value`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			now := newTask(func(k *arl.Task) { k.Status = tc.now })
			old := newTask(func(k *arl.Task) { k.Status = tc.old })
			wantErrors(t, ValidateTaskStatusUpdate(now, old), tc.want...)
		})
	}
}
