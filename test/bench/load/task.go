// Package load makes the tasks that benchmarks load a server or its storage
// with: of the size and shape that agents' tasks have, about 2 KB when they
// have ended. It also has the percentiles that they report.
package load

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// Namespace is that of the tasks.
const Namespace = "default"

// output is what a task of an agent prints: a screen of text.
var output = strings.Repeat("ok  \tpkg/module\t0.004s\n", 20)

// New returns a task as the registry hands it to storage on a create.
func New(name string, now time.Time) *arl.Task {
	return &arl.Task{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: Namespace, UID: types.UID(fmt.Sprintf("%-36.36s", name)),
			CreationTimestamp: metav1.NewTime(now), Generation: 1,
			Labels: map[string]string{"rl.example.com/episode": "17", "rl.example.com/run": "bench"},
			ManagedFields: []metav1.ManagedFieldsEntry{{
				Manager: "agent", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "arl.io/v1alpha1",
				Time: &metav1.Time{Time: now}, FieldsType: "FieldsV1",
				FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{".":{},"f:rl.example.com/episode":{},"f:rl.example.com/run":{}}},` +
					`"f:spec":{"f:sandboxRef":{},"f:steps":{},"f:timeout":{},"f:traceID":{}}}`),
			}},
		},
		Spec: arl.TaskSpec{
			SandboxRef: "sandbox-17", Timeout: "5m0s", TraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
			RetryPolicy: arl.RetryInfrastructure,
			Steps: []arl.TaskStep{
				{Name: "patch", Type: arl.StepFilePatch, Path: "src/module.py", Content: &patched, OnFailure: arl.FailureStop},
				{Name: "test", Type: arl.StepCommand, Command: []string{"go", "test", "./..."}, OnFailure: arl.FailureStop,
					Env: map[string]string{"GOFLAGS": "-count=1", "HOME": "/workspace"}},
			},
		},
		Status: arl.TaskStatus{State: arl.TaskPending},
	}
}

var patched = strings.Repeat("def step(state):\n    return state + 1\n", 8)

// Start is the status that the scheduler writes when steps begin.
func Start(t *arl.Task, now time.Time) {
	t.Status.State, t.Status.Reason = arl.TaskRunning, v1alpha1.TaskReasonRunning
	t.Status.SandboxName, t.Status.PodName, t.Status.Attempts = "sandbox-17", "bench-pool-x7k2p", 1
	t.Status.StartTime = &metav1.MicroTime{Time: now}
	t.Status.Conditions = []metav1.Condition{{
		Type: v1alpha1.TaskConditionSucceeded, Status: metav1.ConditionUnknown, Reason: v1alpha1.TaskReasonRunning,
		LastTransitionTime: metav1.NewTime(now),
	}}
}

// Finish is the status that the scheduler writes when they have ended.
func Finish(t *arl.Task, now time.Time) {
	var zero int32
	t.Status.State, t.Status.Reason = arl.TaskSucceeded, v1alpha1.TaskReasonCompleted
	t.Status.Stdout, t.Status.Duration, t.Status.ExitCode = output, "12.345ms", &zero
	t.Status.CompletionTime = &metav1.MicroTime{Time: now}
	t.Status.Steps = []arl.TaskStepStatus{
		{Name: "patch", State: arl.StepSucceeded, StartTime: &metav1.MicroTime{Time: now}, Duration: "1.2ms"},
		{Name: "test", State: arl.StepSucceeded, ExitCode: &zero, StdoutBytes: int64(len(output)),
			StartTime: &metav1.MicroTime{Time: now}, Duration: "11.1ms"},
	}
	t.Status.Conditions[0].Status, t.Status.Conditions[0].Reason = metav1.ConditionTrue, v1alpha1.TaskReasonCompleted
}

// Percentile returns the smallest of the durations that p per cent of all do
// not exceed, and sorts them. Without any it returns 0.
func Percentile(durations []time.Duration, p int) time.Duration {
	if len(durations) == 0 {
		return 0
	}
	slices.Sort(durations)
	return durations[max(0, (len(durations)*p+99)/100-1)]
}
