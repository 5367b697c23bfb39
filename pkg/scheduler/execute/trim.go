package execute

import (
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler/plan"
)

// largeSpec is the size of the steps above which the scheduler keeps a task without their content.
// The storage keeps such an object in its files, and reads it when it is asked for.
const largeSpec = 16 << 10

// Trim is a transform for the cache of tasks: it leaves out what the scheduler does not read, which
// for a finished task is nearly all. It fits cache.TransformFunc, changes an object of its own type
// in place, and leaves one that it has seen before as it is.
func Trim(obj any) (any, error) {
	task, ok := obj.(*v1alpha1.Task)
	if !ok {
		return obj, nil
	}
	if !plan.Finished(task) {
		trim(task)
		return task, nil
	}
	if len(task.Spec.Steps) == 0 {
		return task, nil
	}
	size := int64(task.Size())
	task.ManagedFields, task.Annotations = nil, nil
	task.Spec = v1alpha1.TaskSpec{
		SandboxRef:              task.Spec.SandboxRef,
		PoolRef:                 task.Spec.PoolRef,
		TTLSecondsAfterFinished: task.Spec.TTLSecondsAfterFinished,
		RetentionPolicy:         task.Spec.RetentionPolicy,
	}
	task.Status = v1alpha1.TaskStatus{
		State:          task.Status.State,
		CompletionTime: task.Status.CompletionTime,
		// Nothing reads the generation of a finished task. See storedBytes.
		ObservedGeneration: size,
	}
	return task, nil
}

// storedBytes returns the size of a finished task as it is stored. The task is one that Trim has
// left: it carries its size in place of status.observedGeneration, which costs no memory.
func storedBytes(task *v1alpha1.Task) int64 { return task.Status.ObservedGeneration }

// trim leaves out of a task that has not ended what the scheduler does not read. Writes of its
// status do without it: the server keeps metadata and spec as they are stored.
func trim(task *v1alpha1.Task) {
	task.ManagedFields, task.Annotations = nil, nil
	if bytesOfSteps(task.Spec.Steps) <= largeSpec {
		return
	}
	for i := range task.Spec.Steps {
		step := &task.Spec.Steps[i]
		*step = v1alpha1.TaskStep{Name: step.Name, Type: step.Type, Timeout: step.Timeout, OnFailure: step.OnFailure}
	}
}

// abridged says whether trim has left out the content of a task's steps: no valid step is without.
func abridged(task *v1alpha1.Task) bool {
	for i := range task.Spec.Steps {
		switch step := &task.Spec.Steps[i]; step.Type {
		case v1alpha1.StepCommand:
			return len(step.Command) == 0
		case v1alpha1.StepFilePatch:
			return step.Content == nil && step.Patch == nil
		}
	}
	return false
}

func bytesOfSteps(steps []v1alpha1.TaskStep) int {
	size := 0
	for i := range steps {
		step := &steps[i]
		size += len(step.Stdin) + len(step.Path)
		for _, argument := range step.Command {
			size += len(argument)
		}
		for name, value := range step.Env {
			size += len(name) + len(value)
		}
		for _, text := range []*string{step.Content, step.Patch} {
			if text != nil {
				size += len(*text)
			}
		}
	}
	return size
}
