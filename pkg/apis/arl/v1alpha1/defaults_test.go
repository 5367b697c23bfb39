package v1alpha1_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

func TestDefaults(t *testing.T) {
	template := corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "executor", Image: "busybox"}}}}
	for _, tc := range []struct {
		name      string
		obj, want runtime.Object
	}{
		{
			name: "pool with only what is required",
			obj:  &v1alpha1.WarmPool{Spec: v1alpha1.WarmPoolSpec{Template: template}},
			want: &v1alpha1.WarmPool{Spec: v1alpha1.WarmPoolSpec{
				Replicas:       ptr.To[int32](1),
				Template:       template,
				WorkDir:        "/workspace",
				ReclaimPolicy:  v1alpha1.ReclaimDelete,
				UpdateStrategy: v1alpha1.WarmPoolUpdateStrategy{Type: v1alpha1.UpdateOnReplenish},
				SandboxLabel:   v1alpha1.SandboxLabelNone,
			}},
		},
		{
			name: "zero replicas are kept",
			obj: &v1alpha1.WarmPool{Spec: v1alpha1.WarmPoolSpec{
				Replicas: ptr.To[int32](0), Template: template, WorkDir: "/w",
				UpdateStrategy: v1alpha1.WarmPoolUpdateStrategy{Type: v1alpha1.UpdateRecreate},
				SandboxLabel:   v1alpha1.SandboxLabelName,
			}},
			want: &v1alpha1.WarmPool{Spec: v1alpha1.WarmPoolSpec{
				Replicas: ptr.To[int32](0), Template: template, WorkDir: "/w",
				ReclaimPolicy:  v1alpha1.ReclaimDelete,
				UpdateStrategy: v1alpha1.WarmPoolUpdateStrategy{Type: v1alpha1.UpdateRecreate},
				SandboxLabel:   v1alpha1.SandboxLabelName,
			}},
		},
		{
			name: "sandbox timeouts stay the pool's business",
			obj:  &v1alpha1.Sandbox{Spec: v1alpha1.SandboxSpec{PoolRef: "p"}},
			want: &v1alpha1.Sandbox{Spec: v1alpha1.SandboxSpec{PoolRef: "p", MaxConcurrentTasks: ptr.To[int32](1)}},
		},
		{
			name: "sandbox concurrency is kept",
			obj:  &v1alpha1.Sandbox{Spec: v1alpha1.SandboxSpec{PoolRef: "p", MaxConcurrentTasks: ptr.To[int32](8)}},
			want: &v1alpha1.Sandbox{Spec: v1alpha1.SandboxSpec{PoolRef: "p", MaxConcurrentTasks: ptr.To[int32](8)}},
		},
		{
			name: "task with only what is required",
			obj: &v1alpha1.Task{Spec: v1alpha1.TaskSpec{SandboxRef: "s", Steps: []v1alpha1.TaskStep{
				{Name: "a", Type: v1alpha1.StepCommand},
				{Name: "b", Type: v1alpha1.StepCommand, OnFailure: v1alpha1.FailureContinue},
			}}},
			want: &v1alpha1.Task{Spec: v1alpha1.TaskSpec{
				SandboxRef: "s", Timeout: "5m", RetryPolicy: v1alpha1.RetryInfrastructure,
				TerminationGracePeriodSeconds: ptr.To[int32](2), RetentionPolicy: v1alpha1.RetentionDelete,
				Steps: []v1alpha1.TaskStep{
					{Name: "a", Type: v1alpha1.StepCommand},
					{Name: "b", Type: v1alpha1.StepCommand, OnFailure: v1alpha1.FailureContinue},
				},
			}},
		},
		{
			name: "task timeout and retry policy are kept",
			obj: &v1alpha1.Task{Spec: v1alpha1.TaskSpec{Timeout: "1s", RetryPolicy: v1alpha1.RetryAlways,
				TerminationGracePeriodSeconds: ptr.To[int32](0), RetentionPolicy: v1alpha1.RetentionRetain}},
			want: &v1alpha1.Task{Spec: v1alpha1.TaskSpec{Timeout: "1s", RetryPolicy: v1alpha1.RetryAlways,
				TerminationGracePeriodSeconds: ptr.To[int32](0), RetentionPolicy: v1alpha1.RetentionRetain}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			newScheme(t).Default(tc.obj)
			if diff := cmp.Diff(tc.want, tc.obj); diff != "" {
				t.Errorf("defaulted object (-want +got):\n%s", diff)
			}
		})
	}
}
