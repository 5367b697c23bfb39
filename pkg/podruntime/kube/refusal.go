package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"arl.io/arl/pkg/podruntime"
)

// terminatingWait is for a namespace that is being deleted: it does not come
// back, and takes the pool with it.
const terminatingWait = time.Minute

// What the cluster's own admission plugins say of a pod that they forbid. They
// give no machine-readable cause.
const (
	quotaWords       = "exceeded quota: "
	podSecurityWords = "violates PodSecurity "
)

// submit asks for a pod. Pods that are created at the same time in a namespace
// with a quota may get in each other's way there, which says nothing against any of them.
func (r *Runtime) submit(ctx context.Context, wanted *corev1.Pod) (*corev1.Pod, error) {
	var created *corev1.Pod
	err := retry.OnError(retry.DefaultRetry, inTheWay, func() (err error) {
		created, err = r.config.Client.CoreV1().Pods(wanted.Namespace).Create(ctx, wanted, metav1.CreateOptions{FieldManager: fieldManager})
		return err
	})
	return created, err
}

func inTheWay(err error) bool {
	return apierrors.IsConflict(err) && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}

// refusal puts an answer of the cluster into the terms of package podruntime.
func refusal(err error) error {
	switch {
	case apierrors.IsAlreadyExists(err):
		return fmt.Errorf("%w: %w", podruntime.ErrExists, err)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return fmt.Errorf("%w: %w", podruntime.ErrInvalid, err)
	}
	reason, wait := reasonOf(err)
	if reason == "" {
		return err
	}
	if seconds, ok := apierrors.SuggestsClientDelay(err); ok {
		wait = max(wait, time.Duration(seconds)*time.Second)
	}
	return &podruntime.Refusal{Reason: reason, RetryAfter: wait, Err: err}
}

// reasonOf returns the reason of a Refusal, and how long it will last at least; or "".
func reasonOf(err error) (reason string, wait time.Duration) {
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return podruntime.ReasonNamespaceTerminating, terminatingWait
	case apierrors.IsNotFound(err):
		return podruntime.ReasonNamespaceNotFound, 0
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), quotaWords):
		return podruntime.ReasonQuota, 0
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), podSecurityWords):
		return podruntime.ReasonPodSecurity, 0
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return podruntime.ReasonForbidden, 0
	case apierrors.IsTooManyRequests(err), apierrors.IsTimeout(err), apierrors.IsServerTimeout(err), apierrors.IsServiceUnavailable(err):
		return podruntime.ReasonUnavailable, 0
	}
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		// Nobody has answered.
		return podruntime.ReasonUnavailable, 0
	}
	return "", 0
}
