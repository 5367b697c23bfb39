package space

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// SandboxOf is a sandbox that stays until it is deleted.
func SandboxOf(name, pool string) *v1alpha1.Sandbox {
	return &v1alpha1.Sandbox{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.SandboxSpec{PoolRef: pool, KeepAlive: true},
	}
}

// TaskIn is a task in a sandbox.
func TaskIn(sandbox, name string, steps ...v1alpha1.TaskStep) *v1alpha1.Task {
	return &v1alpha1.Task{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.TaskSpec{SandboxRef: sandbox, Steps: steps},
	}
}

// Command is a step that runs a program.
func Command(name string, args ...string) v1alpha1.TaskStep {
	return v1alpha1.TaskStep{Name: name, Type: v1alpha1.StepCommand, Command: args}
}

// Shell is a step that runs a script.
func Shell(name, script string) v1alpha1.TaskStep { return Command(name, "sh", "-c", script) }

// Write is a step that writes a file.
func Write(name, path, content string) v1alpha1.TaskStep {
	return v1alpha1.TaskStep{Name: name, Type: v1alpha1.StepFilePatch, Path: path, Content: &content}
}

// Ended says whether a task has succeeded or failed.
func Ended(task *v1alpha1.Task) bool {
	return task.Status.State == v1alpha1.TaskSucceeded || task.Status.State == v1alpha1.TaskFailed
}

// Outline shows a task's status in one line, without what may be long.
func Outline(task *v1alpha1.Task) string {
	s := task.Status
	var steps []string
	for _, step := range s.Steps {
		steps = append(steps, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", step.Name, step.State, step.Reason, step.Message)))
	}
	return fmt.Sprintf("%s %s %s %q exit=%d attempts=%d steps=%q stderr=%.200q",
		s.State, s.Reason, s.FailureClass, s.Message, ptr.Deref(s.ExitCode, -1), s.Attempts, steps, s.Stderr)
}
