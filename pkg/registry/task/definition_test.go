package task

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testingclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/registry/kind"
)

func TestTable(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 5, 0, 0, time.UTC)
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(now.Add(-5 * time.Minute))}
	}
	steps := []arl.TaskStep{{Name: "a"}, {Name: "b"}, {Name: "c"}}
	list := &arl.TaskList{Items: []arl.Task{
		{
			ObjectMeta: meta("failed"),
			Spec:       arl.TaskSpec{SandboxRef: "box", Steps: steps},
			Status: arl.TaskStatus{
				State: arl.TaskFailed, Reason: arl.TaskReasonStepFailed, SandboxName: "box", PodName: "py-1",
				ExitCode: ptr.To[int32](42), Duration: "12.345ms", Attempts: 2,
				Steps: []arl.TaskStepStatus{{State: arl.StepSucceeded}, {State: arl.StepFailed}, {State: arl.StepSkipped}},
			},
		},
		{
			ObjectMeta: meta("running"),
			Spec:       arl.TaskSpec{PoolRef: "py", Steps: steps},
			Status: arl.TaskStatus{
				State: arl.TaskRunning, SandboxName: "running-x1", Attempts: 1,
				StartTime: ptr.To(metav1.NewMicroTime(now.Add(-2500 * time.Millisecond))),
			},
		},
		{ObjectMeta: meta("new"), Spec: arl.TaskSpec{SandboxRef: "box", Steps: steps}},
		{
			ObjectMeta: meta("exited-0"), Spec: arl.TaskSpec{PoolRef: "py", Steps: steps},
			Status: arl.TaskStatus{State: arl.TaskSucceeded, ExitCode: ptr.To[int32](0), Duration: "3m20s"},
		},
	}}
	got, err := kind.NewTable(testingclock.NewFakePassiveClock(now), columns...).ConvertToTable(t.Context(), list, nil)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]any
	for _, r := range got.Rows {
		rows = append(rows, r.Cells)
	}
	want := [][]any{
		{"failed", "box", "Failed", "StepFailed", "42", "12ms", "5m", "<none>", "py-1", int64(2), "2/3"},
		{"running", "running-x1", "Running", "<none>", "<none>", "2.5s", "5m", "py", "<none>", int64(1), "0/3"},
		{"new", "box", "<none>", "<none>", "<none>", "<none>", "5m", "<none>", "<none>", int64(0), "0/3"},
		{"exited-0", "<none>", "Succeeded", "<none>", "0", "3m20s", "5m", "py", "<none>", int64(0), "0/3"},
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("unexpected rows (-want +got):\n%s", diff)
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct {
		name string
		spec arl.TaskSpec
		want []string
	}{
		{name: "no step timeout", spec: arl.TaskSpec{Timeout: "5m", Steps: []arl.TaskStep{{}}}},
		{name: "step as long as the task", spec: arl.TaskSpec{Timeout: "5m", Steps: []arl.TaskStep{{Timeout: "300s"}}}},
		{
			name: "second step longer than the task", spec: arl.TaskSpec{Timeout: "5m", Steps: []arl.TaskStep{{}, {Timeout: "10m"}}},
			want: []string{"spec.steps[1].timeout: 10m is never reached: spec.timeout ends the task after 5m"},
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, warnings(&arl.Task{Spec: tc.spec})); diff != "" {
				t.Errorf("unexpected warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestInitialStatusSaysPending(t *testing.T) {
	got := initialStatus(&arl.Task{ObjectMeta: metav1.ObjectMeta{Generation: 1}})
	want := arl.TaskStatus{
		State: arl.TaskPending,
		Conditions: []metav1.Condition{{
			Type: "Succeeded", Status: metav1.ConditionUnknown, Reason: kind.ReasonPending,
			Message: "The scheduler has not looked at it yet.",
		}, {
			Type: "Reconciling", Status: metav1.ConditionTrue, Reason: kind.ReasonPending,
			Message: "The scheduler has not looked at it yet.",
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("unexpected status (-want +got):\n%s", diff)
	}
}
