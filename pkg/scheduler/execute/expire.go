package execute

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler/plan"
)

// expire deletes a finished task whose time is over.
func (e *Executor) expire(ctx context.Context, key types.NamespacedName) error {
	task, err := e.config.Tasks.Tasks(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up task %s: %w", key, err)
	}
	over := plan.Finished(task) && !e.config.Clock.Now().Before(plan.Expiry(task, e.config.Retention))
	if !over || task.DeletionTimestamp != nil {
		return nil
	}
	err = e.config.Client.Tasks(key.Namespace).Delete(ctx, key.Name, metav1.DeleteOptions{
		Preconditions: metav1.NewUIDPreconditions(string(task.UID)),
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete expired task %s: %w", key, err)
	}
	return nil
}

// Trim is a transform for the cache of tasks: it leaves out what the scheduler
// does not read, which for a finished task is nearly all. It fits
// cache.TransformFunc, and trims an object of its own type in place.
func Trim(obj any) (any, error) {
	task, ok := obj.(*v1alpha1.Task)
	if !ok {
		return obj, nil
	}
	task.ManagedFields = nil
	if plan.Finished(task) {
		task.Annotations = nil
		task.Spec = v1alpha1.TaskSpec{
			SandboxRef:              task.Spec.SandboxRef,
			PoolRef:                 task.Spec.PoolRef,
			TTLSecondsAfterFinished: task.Spec.TTLSecondsAfterFinished,
		}
		task.Status = v1alpha1.TaskStatus{
			State:          task.Status.State,
			CompletionTime: task.Status.CompletionTime,
		}
	}
	return task, nil
}
