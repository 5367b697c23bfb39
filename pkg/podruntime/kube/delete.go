package kube

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/podruntime"
)

// gracePeriodSeconds is what a node gives the processes of a pod to end by
// themselves. It is the least for which the API server keeps the pod until the node
// says that nothing of it runs any more; with 0 it would forget the pod at once.
const gracePeriodSeconds = 1

// Delete implements podruntime.Runtime.
func (r *Runtime) Delete(ctx context.Context, key podruntime.Key, uid types.UID) error {
	p, state, begun, err := r.beginDelete(key, uid)
	if err != nil || !begun {
		return err
	}
	err = r.remove(ctx, state, gracePeriodSeconds)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil || errors.Is(err, podruntime.ErrNotFound) {
		p.disconnectLocked()
	} else if r.pods[key] == p {
		p.deleting = false
		// What was not told meanwhile is told now.
		r.applyLocked(p, p.status, false)
	}
	if err != nil {
		return fmt.Errorf("deleting pod %s: %w", key, err)
	}
	return nil
}

// beginDelete marks a pod as being deleted. It returns false if there is
// nothing to do now: the deletion is under way, or follows the answer to the creation.
func (r *Runtime) beginDelete(key podruntime.Key, uid types.UID) (_ *pod, state podruntime.Pod, begun bool, _ error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.pods[key]
	if !ok || (uid != "" && p.pod.UID != uid) {
		return nil, podruntime.Pod{}, false, fmt.Errorf("deleting pod %s: %w", key, podruntime.ErrNotFound)
	}
	if p.deleting {
		return p, p.pod, false, nil
	}
	p.deleting, p.deletedAt = true, r.config.Clock.Now()
	return p, p.pod, !p.creating, nil
}

// remove asks the API server to delete exactly this pod. If there is no such
// pod, returns podruntime.ErrNotFound.
func (r *Runtime) remove(ctx context.Context, p podruntime.Pod, grace int64) error {
	err := r.config.Client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &grace,
		Preconditions:      metav1.NewUIDPreconditions(string(p.UID)),
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return fmt.Errorf("%w: %w", podruntime.ErrNotFound, err)
	}
	return err
}
