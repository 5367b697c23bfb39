package execute

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// expire deletes a finished task whose time is over, or for which there is no room.
func (e *Executor) expire(ctx context.Context, key types.NamespacedName) error {
	task, err := e.config.Tasks.Tasks(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up task %s: %w", key, err)
	}
	if !e.over(task) || task.DeletionTimestamp != nil {
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
