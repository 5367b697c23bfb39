package kube

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/podruntime"
)

// LabelSandbox implements podruntime.Runtime with one patch, or none if the pod
// is known to have the label.
func (r *Runtime) LabelSandbox(ctx context.Context, key podruntime.Key, uid types.UID, sandbox string) error {
	p, missing, err := r.unlabelled(key, uid, sandbox)
	if err == nil && missing {
		err = r.label(ctx, key, uid, sandbox)
	}
	if err != nil {
		return fmt.Errorf("labelling pod %s: %w", key, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p.sandbox = sandbox
	return nil
}

// unlabelled returns a pod and whether it lacks the label.
func (r *Runtime) unlabelled(key podruntime.Key, uid types.UID, sandbox string) (*pod, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.pods[key]
	if !ok || p.pod.UID != uid || p.deleting {
		return nil, false, podruntime.ErrNotFound
	}
	return p, p.sandbox != sandbox, nil
}

// label sets the label of exactly this pod.
func (r *Runtime) label(ctx context.Context, key podruntime.Key, uid types.UID, sandbox string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid":    uid,
		"labels": map[string]string{podruntime.LabelSandbox: sandbox},
	}})
	if err != nil {
		return fmt.Errorf("write the patch: %w", err)
	}
	_, err = r.config.Client.CoreV1().Pods(key.Namespace).Patch(ctx, key.Name, types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: fieldManager})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsInvalid(err) {
		// Another UID is an attempt to change it, which is invalid.
		return fmt.Errorf("%w: %w", podruntime.ErrNotFound, err)
	}
	return err
}
