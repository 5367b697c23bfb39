package validation

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl"
)

func newPool(changes ...func(*arl.WarmPool)) *arl.WarmPool {
	pool := &arl.WarmPool{
		ObjectMeta: metav1.ObjectMeta{Name: "pool", Namespace: "default", ResourceVersion: "1"},
		Spec: arl.WarmPoolSpec{
			Replicas: ptr.To[int32](1),
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "executor", Image: "python:3.12-slim"}},
			}},
			WorkDir:        "/workspace",
			ReclaimPolicy:  arl.ReclaimDelete,
			UpdateStrategy: arl.WarmPoolUpdateStrategy{Type: arl.UpdateOnReplenish},
			SandboxLabel:   arl.SandboxLabelNone,
		},
	}
	for _, change := range changes {
		change(pool)
	}
	return pool
}

func newSandbox(changes ...func(*arl.Sandbox)) *arl.Sandbox {
	sandbox := &arl.Sandbox{
		ObjectMeta: metav1.ObjectMeta{Name: "sandbox", Namespace: "default", ResourceVersion: "1"},
		Spec:       arl.SandboxSpec{PoolRef: "pool", MaxConcurrentTasks: ptr.To[int32](1)},
	}
	for _, change := range changes {
		change(sandbox)
	}
	return sandbox
}

func newTask(changes ...func(*arl.Task)) *arl.Task {
	task := &arl.Task{
		ObjectMeta: metav1.ObjectMeta{Name: "task", Namespace: "default", ResourceVersion: "1"},
		Spec: arl.TaskSpec{
			SandboxRef:  "sandbox",
			Steps:       []arl.TaskStep{{Name: "run", Type: arl.StepCommand, Command: []string{"true"}, OnFailure: arl.FailureStop}},
			Timeout:     "5m",
			RetryPolicy: arl.RetryInfrastructure,
		},
	}
	for _, change := range changes {
		change(task)
	}
	return task
}

// inStep changes the only step of a new task.
func inStep(change func(*arl.TaskStep)) func(*arl.Task) {
	return func(task *arl.Task) { change(&task.Spec.Steps[0]) }
}

// filePatch is a valid step of type FilePatch.
func filePatch(step *arl.TaskStep) {
	*step = arl.TaskStep{Name: "write", Type: arl.StepFilePatch, Path: "main.py", Content: ptr.To("pass\n"), OnFailure: arl.FailureStop}
}

// condition is a valid one.
func condition() metav1.Condition {
	return metav1.Condition{Type: "Ready", Status: metav1.ConditionTrue, Reason: "PodAllocated", LastTransitionTime: metav1.Now()}
}

// wantErrors compares whole messages: what the user reads is the interface.
func wantErrors(t *testing.T, got field.ErrorList, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, details(got)); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
}

// variables returns n environment variables.
func variables(n int) map[string]string {
	env := make(map[string]string, n)
	for i := range n {
		env[strings.Repeat("X", i+1)] = "x"
	}
	return env
}

// details returns the messages of all lists, in order.
func details(lists ...field.ErrorList) []string {
	var messages []string
	for _, list := range lists {
		for _, err := range list {
			messages = append(messages, err.Error())
		}
	}
	return messages
}
