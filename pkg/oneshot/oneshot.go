// Package oneshot says what the sandbox is that the server creates for a task with spec.poolRef: its
// name, its content, and how it is recognized. The scheduler creates it; admission looks at it before
// the task is stored. Everything here is a pure function.
package oneshot

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// LabelTask is the label of a sandbox that was created for one task: the task's
// name, shortened if need be. A sandbox that carries it and is controlled by a
// Task is deleted once that task has ended or is gone.
const LabelTask = "arl.io/task"

const (
	taskKind = "Task"
	// maxPrefix leaves room for the hash in the 63 characters of a name.
	maxPrefix = 48
	maxLabel  = 63
)

// Name returns the name of the sandbox for an attempt at a task, from 1. It is the same
// whenever it is asked for, so that a restarted server finds the sandbox that the one before it created.
func Name(task *v1alpha1.Task, attempt int32) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", task.UID, attempt))
	return shorten(task.Name, maxPrefix) + "-" + hex.EncodeToString(sum[:5])
}

// Sandbox returns the sandbox for an attempt at a task.
func Sandbox(task *v1alpha1.Task, attempt int32) *v1alpha1.Sandbox {
	return &v1alpha1.Sandbox{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: task.Namespace,
			Name:      Name(task, attempt),
			Labels:    map[string]string{LabelTask: shorten(task.Name, maxLabel)},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.SchemeGroupVersion.String(),
				Kind:       taskKind,
				Name:       task.Name,
				UID:        task.UID,
				Controller: ptr.To(true),
			}},
		},
		// It is deleted with the task, and not for being idle.
		Spec: v1alpha1.SandboxSpec{PoolRef: task.Spec.PoolRef, KeepAlive: true},
	}
}

// Owner returns the UID of the task that a sandbox was created for, or "" for
// any other sandbox.
func Owner(sandbox *v1alpha1.Sandbox) types.UID {
	if _, ok := sandbox.Labels[LabelTask]; !ok {
		return ""
	}
	owner := metav1.GetControllerOf(sandbox)
	if owner == nil || owner.Kind != taskKind || owner.APIVersion != v1alpha1.SchemeGroupVersion.String() {
		return ""
	}
	return owner.UID
}

// shorten cuts a name to at most so many characters; names end with a letter or digit.
func shorten(name string, limit int) string {
	if len(name) <= limit {
		return name
	}
	name = name[:limit]
	for name != "" && (name[len(name)-1] == '-' || name[len(name)-1] == '.') {
		name = name[:len(name)-1]
	}
	return name
}
