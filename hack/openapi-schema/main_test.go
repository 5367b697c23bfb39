package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	apply "arl.io/arl/pkg/generated/applyconfiguration/arl/v1alpha1"
	"arl.io/arl/pkg/generated/clientset/versioned/fake"
)

// TestExtractWarmPool wants back just the fields of one manager, down to a
// container found by its name: without the models that this program prints,
// Extract has no schema and fails.
func TestExtractWarmPool(t *testing.T) {
	pool := &v1alpha1.WarmPool{
		ObjectMeta: metav1.ObjectMeta{Name: "pool", Namespace: "default", ManagedFields: []metav1.ManagedFieldsEntry{{
			Manager: "mine", Operation: metav1.ManagedFieldsOperationApply, FieldsType: "FieldsV1",
			APIVersion: v1alpha1.SchemeGroupVersion.String(),
			FieldsV1: fields(`{"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{
				"k:{\"name\":\"executor\"}":{".":{},"f:name":{},"f:image":{}}}}}}}`),
		}}},
		Spec: v1alpha1.WarmPoolSpec{
			Replicas: ptr.To[int32](3),
			WorkDir:  "/workspace",
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{
				{Name: "executor", Image: "busybox", TTY: true}, {Name: "sidecar", Image: "other"},
			}}},
		},
	}
	got, err := apply.ExtractWarmPool(pool, "mine")
	if err != nil {
		t.Fatal(err)
	}
	want := apply.WarmPool("pool", "default").WithSpec(apply.WarmPoolSpec().
		WithReplicas(3).
		WithTemplate(applycorev1.PodTemplateSpec().WithSpec(applycorev1.PodSpec().
			WithContainers(applycorev1.Container().WithName("executor").WithImage("busybox")))))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("extracted configuration (-want +got):\n%s", diff)
	}
}

// TestExtractStatus wants the fields of a subresource, and conditions by type.
func TestExtractStatus(t *testing.T) {
	entry := func(raw string) []metav1.ManagedFieldsEntry {
		return []metav1.ManagedFieldsEntry{{
			Manager: "mine", Operation: metav1.ManagedFieldsOperationApply, FieldsType: "FieldsV1",
			APIVersion: v1alpha1.SchemeGroupVersion.String(), Subresource: "status", FieldsV1: fields(raw),
		}}
	}
	sandbox, err := apply.ExtractSandboxFrom(&v1alpha1.Sandbox{
		ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default", ManagedFields: entry(`{"f:status":{"f:podName":{}}}`)},
		Status:     v1alpha1.SandboxStatus{PodName: "pod", Phase: v1alpha1.SandboxReady},
	}, "mine", "status")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(apply.Sandbox("s", "default").WithStatus(apply.SandboxStatus().WithPodName("pod")), sandbox); diff != "" {
		t.Errorf("extracted sandbox (-want +got):\n%s", diff)
	}

	task, err := apply.ExtractTaskFrom(&v1alpha1.Task{
		ObjectMeta: metav1.ObjectMeta{Name: "t", Namespace: "default",
			ManagedFields: entry(`{"f:status":{"f:conditions":{"k:{\"type\":\"Succeeded\"}":{".":{},"f:type":{}}}}}`)},
		Status: v1alpha1.TaskStatus{State: v1alpha1.TaskFailed, Conditions: []metav1.Condition{{Type: "Other"}, {Type: "Succeeded"}}},
	}, "mine", "status")
	if err != nil {
		t.Fatal(err)
	}
	if len(task.Status.Conditions) != 1 || *task.Status.Conditions[0].Type != "Succeeded" || task.Status.State != nil {
		t.Errorf("extracted status: got %+v, want the condition Succeeded alone", task.Status)
	}
}

// TestFakeApply applies a configuration through the fake clientset, which
// tracks managed fields by the same models.
func TestFakeApply(t *testing.T) {
	client := fake.NewClientset()
	pools := client.ArlV1alpha1().WarmPools("default")
	for manager, spec := range map[string]*apply.WarmPoolSpecApplyConfiguration{
		"scaler": apply.WarmPoolSpec().WithReplicas(2),
		"author": apply.WarmPoolSpec().WithWorkDir("/work"),
	} {
		_, err := pools.Apply(t.Context(), apply.WarmPool("pool", "default").WithSpec(spec), metav1.ApplyOptions{FieldManager: manager})
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := pools.Get(t.Context(), "pool", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := v1alpha1.WarmPoolSpec{Replicas: ptr.To[int32](2), WorkDir: "/work"}
	if diff := cmp.Diff(want, got.Spec); diff != "" {
		t.Errorf("applied spec (-want +got):\n%s", diff)
	}
}

func fields(raw string) *metav1.FieldsV1 {
	return metav1.NewFieldsV1(raw)
}
