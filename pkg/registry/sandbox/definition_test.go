package sandbox

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
	list := &arl.SandboxList{Items: []arl.Sandbox{
		{
			ObjectMeta: meta("ready"),
			Spec:       arl.SandboxSpec{PoolRef: "py", IdleTimeoutSeconds: ptr.To[int32](90)},
			Status: arl.SandboxStatus{
				Phase: arl.SandboxReady, PodName: "py-1", NodeName: "n1", PodIP: "10.0.0.1", Reason: arl.SandboxReasonPodAllocated,
			},
		},
		{
			ObjectMeta: meta("waiting"),
			Spec:       arl.SandboxSpec{PoolRef: "py", KeepAlive: true},
			Status: arl.SandboxStatus{
				Phase: arl.SandboxPending, Reason: arl.SandboxReasonWaitingForPod, QueuePosition: ptr.To[int32](3),
			},
		},
		{ObjectMeta: meta("bare"), Spec: arl.SandboxSpec{PoolRef: "py"}},
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
		{"ready", "py", "Ready", "py-1", "5m", "n1", "10.0.0.1", "PodAllocated", "<none>", "1m30s"},
		{"waiting", "py", "Pending", "<none>", "5m", "<none>", "<none>", "WaitingForPod", "3", "never"},
		{"bare", "py", "<none>", "<none>", "5m", "<none>", "<none>", "<none>", "<none>", "default"},
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("unexpected rows (-want +got):\n%s", diff)
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct {
		name       string
		idle, life *int32
		want       []string
	}{
		{name: "neither"},
		{name: "idle alone", idle: ptr.To[int32](60)},
		{name: "idle before the end", idle: ptr.To[int32](60), life: ptr.To[int32](61)},
		{
			name: "idle after the end", idle: ptr.To[int32](60), life: ptr.To[int32](60),
			want: []string{"spec.idleTimeoutSeconds: 60 is never reached: spec.maxLifetimeSeconds ends the sandbox after 60"},
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			box := &arl.Sandbox{Spec: arl.SandboxSpec{IdleTimeoutSeconds: tc.idle, MaxLifetimeSeconds: tc.life}}
			if diff := cmp.Diff(tc.want, warnings(box)); diff != "" {
				t.Errorf("unexpected warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestInitialStatusSaysPending(t *testing.T) {
	got := initialStatus(&arl.Sandbox{ObjectMeta: metav1.ObjectMeta{Generation: 1}})
	want := arl.SandboxStatus{
		Phase: arl.SandboxPending,
		Conditions: []metav1.Condition{{
			Type: "Ready", Status: metav1.ConditionFalse, Reason: kind.ReasonPending,
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
