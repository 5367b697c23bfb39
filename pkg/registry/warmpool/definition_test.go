package warmpool

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testingclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/registry/kind"
)

func pool(name string, containers ...corev1.Container) *arl.WarmPool {
	p := &arl.WarmPool{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
	p.Spec.Replicas = ptr.To[int32](3)
	p.Spec.Template.Spec.Containers = containers
	return p
}

func TestTable(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 5, 0, 0, time.UTC)
	ready := pool("ready", corev1.Container{Image: "python:3.12"}, corev1.Container{Image: "redis:7"})
	ready.Spec.WorkDir = "/workspace"
	ready.Status = arl.WarmPoolStatus{
		Phase: arl.WarmPoolReady, ReadyReplicas: 3, AllocatedReplicas: 2, UpdatedReplicas: 1, PendingSandboxes: 4,
		Conditions: []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue, Reason: "Enough"}},
	}
	degraded := pool("degraded", corev1.Container{Image: "nothing:1"})
	degraded.Status = arl.WarmPoolStatus{
		Phase: arl.WarmPoolDegraded,
		Conditions: []metav1.Condition{
			{Type: "Ready", Status: metav1.ConditionFalse, Reason: "TooFew"},
			{Type: "ReplicaFailure", Status: metav1.ConditionTrue, Reason: "ImagePull"},
		},
	}
	filling := pool("filling", corev1.Container{Image: "x"})
	filling.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionFalse, Reason: "TooFew"}}

	list := &arl.WarmPoolList{Items: []arl.WarmPool{*ready, *degraded, *filling}}
	got, err := kind.NewTable(testingclock.NewFakePassiveClock(now), columns...).ConvertToTable(t.Context(), list, nil)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]any
	for _, r := range got.Rows {
		rows = append(rows, r.Cells)
	}
	const none, unknown = "<none>", "<unknown>"
	want := [][]any{
		{"ready", int64(3), int64(3), int64(2), int64(4), "Ready", unknown, "python:3.12,redis:7", "/workspace", int64(1), none},
		{"degraded", int64(3), int64(0), int64(0), int64(0), "Degraded", unknown, "nothing:1", none, int64(0), "ImagePull"},
		{"filling", int64(3), int64(0), int64(0), int64(0), none, unknown, "x", none, int64(0), "TooFew"},
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("unexpected rows (-want +got):\n%s", diff)
	}
}

func TestWarnings(t *testing.T) {
	limited := func(cpu string) corev1.Container {
		return corev1.Container{Resources: corev1.ResourceRequirements{
			Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)},
		}}
	}
	requested := corev1.Container{Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")},
	}}
	tests := []struct {
		name       string
		restart    corev1.RestartPolicy
		containers []corev1.Container
		maxPods    *int32
		want       []string
	}{
		{name: "no limits", containers: []corev1.Container{requested}},
		{name: "one CPU", containers: []corev1.Container{limited("1")}},
		{
			name: "half a CPU in the second container", containers: []corev1.Container{requested, limited("500m")},
			want: []string{"spec.template.spec.containers[1].resources.limits.cpu: 500m stalls even short steps; prefer a request, or at least 1"},
		},
		{name: "never restarted", restart: corev1.RestartPolicyNever},
		{
			name: "restarted", restart: corev1.RestartPolicyOnFailure,
			want: []string{"spec.template.spec.restartPolicy: OnFailure is not used: a pod that ends is replaced by a fresh one"},
		},
		{name: "command and args", containers: []corev1.Container{{Command: []string{"a"}, Args: []string{"b"}}}},
		{name: "args of another container", containers: []corev1.Container{{Args: []string{"b"}}, {Name: "executor"}}},
		{
			name: "args alone", containers: []corev1.Container{{}, {Name: "executor", Args: []string{"b"}}},
			want: []string{"spec.template.spec.containers[1].args: need command, too, in a cluster, where the image's entrypoint is not known"},
		},
		{name: "room for the replicas", maxPods: ptr.To[int32](3)},
		{
			name: "no room for the replicas", maxPods: ptr.To[int32](2),
			want: []string{"spec.maxPods: 2 leaves no room for the 3 idle pods of spec.replicas"},
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			p := pool("p", tc.containers...)
			p.Spec.MaxPods, p.Spec.Template.Spec.RestartPolicy = tc.maxPods, tc.restart
			got := warnings(p)
			for _, w := range got {
				if len(w) > 120 {
					t.Errorf("the warning is %d characters long: %s", len(w), w)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("unexpected warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestInitialStatusSaysPending(t *testing.T) {
	got := initialStatus(&arl.WarmPool{ObjectMeta: metav1.ObjectMeta{Generation: 1}})
	want := arl.WarmPoolStatus{
		Phase: arl.WarmPoolPending,
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
