package standalone

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/local"
	"arl.io/arl/pkg/podruntime/local/podlog"
	"arl.io/arl/pkg/registry/core/pod"
)

// podView shows the containers of this machine as pods.
type podView struct {
	feed  *pod.Feed
	clock clock.PassiveClock
	// runtime is set before the server answers.
	runtime *local.Runtime
}

var (
	_ local.Observer = (*podView)(nil)
	_ pod.Logs       = (*podView)(nil)
)

func newPodView(clk clock.PassiveClock) *podView { return &podView{feed: pod.NewFeed(clk), clock: clk} }

// Observe implements local.Observer.
func (v *podView) Observe(view local.View) {
	if view.Deleted {
		v.feed.Remove(types.NamespacedName{Namespace: view.Namespace, Name: view.Name}, view.UID)
		return
	}
	shown := podOf(view)
	if view.Deleting {
		shown.DeletionTimestamp, shown.DeletionGracePeriodSeconds = ptr.To(metav1.NewTime(v.clock.Now())), ptr.To[int64](0)
	}
	v.feed.Set(shown)
}

// OpenLog implements pod.Logs.
func (v *podView) OpenLog(ctx context.Context, wanted pod.LogRequest) (io.ReadCloser, error) {
	key := podruntime.Key{Namespace: wanted.Namespace, Name: wanted.Name}
	log, err := v.runtime.OpenLog(ctx, key, wanted.UID, podlog.Options{
		Follow: wanted.Follow, Timestamps: wanted.Timestamps, TailLines: wanted.TailLines, Since: wanted.Since, Stream: wanted.Stream,
	})
	switch {
	case errors.Is(err, podruntime.ErrNotFound):
		return nil, apierrors.NewNotFound(corev1.Resource("pods"), wanted.Name)
	case errors.Is(err, fs.ErrNotExist):
		return nil, apierrors.NewBadRequest("pod " + wanted.Name + " has no log yet: it has not been started, or an earlier version of the server started it")
	}
	return log, err
}

// podOf is the pod of Kubernetes' API that a container is shown as.
func podOf(view local.View) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: view.Namespace, Name: view.Name, UID: view.UID, CreationTimestamp: metav1.NewTime(view.CreatedAt),
			Labels: labelsOf(view),
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "WarmPool", Name: view.Pool, UID: view.PoolUID, Controller: ptr.To(true),
			}},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: podruntime.ExecutorContainer}}},
	}
	if view.Template != nil {
		p.Annotations = maps.Clone(view.Template.Annotations)
		p.Spec = *view.Template.Spec.DeepCopy()
		// Of a template, this one container runs here.
		p.Spec.Containers = []corev1.Container{*executorOf(&p.Spec)}
	}
	p.Spec.NodeName, p.Spec.RestartPolicy = view.NodeName, corev1.RestartPolicyNever
	p.Status = statusOf(view, &p.Spec.Containers[0])
	return p
}

func executorOf(spec *corev1.PodSpec) *corev1.Container {
	for i := range spec.Containers {
		if spec.Containers[i].Name == podruntime.ExecutorContainer {
			return &spec.Containers[i]
		}
	}
	return &spec.Containers[0]
}

func labelsOf(view local.View) map[string]string {
	labels := map[string]string{}
	if view.Template != nil {
		maps.Copy(labels, view.Template.Labels)
	}
	labels[podruntime.LabelPool] = view.Pool
	labels[podruntime.LabelPoolUID] = string(view.PoolUID)
	labels[podruntime.LabelTemplateHash] = view.TemplateHash
	if view.Sandbox != "" {
		labels[podruntime.LabelSandbox] = view.Sandbox
	}
	return labels
}

// statusOf is what a pod's phase is in Kubernetes' words.
func statusOf(view local.View, container *corev1.Container) corev1.PodStatus {
	created := metav1.NewTime(view.CreatedAt)
	status := corev1.PodStatus{Message: view.Message, PodIP: view.IP, StartTime: &created, QOSClass: corev1.PodQOSBurstable}
	c := corev1.ContainerStatus{Name: container.Name, Image: container.Image, Started: ptr.To(false)}
	if view.ImageDigest != "" {
		c.ImageID = container.Image + "@" + view.ImageDigest
		if strings.Contains(container.Image, "@") {
			c.ImageID = container.Image
		}
	}
	since, ready := created, corev1.ConditionFalse
	switch view.Phase {
	case podruntime.Ready:
		status.Phase, ready = corev1.PodRunning, corev1.ConditionTrue
		if !view.ReadyAt.IsZero() {
			since = metav1.NewTime(view.ReadyAt)
		}
		c.Ready, c.Started = true, ptr.To(true)
		c.State.Running = &corev1.ContainerStateRunning{StartedAt: since}
	case podruntime.Failed:
		status.Phase, status.Reason = corev1.PodFailed, view.Reason
		c.State.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1, Reason: view.Reason, Message: view.Message}
	default:
		status.Phase = corev1.PodPending
		waiting := view.Reason
		if waiting == "" {
			waiting = "ContainerCreating"
		}
		c.State.Waiting = &corev1.ContainerStateWaiting{Reason: waiting, Message: view.Message}
	}
	status.ContainerStatuses = []corev1.ContainerStatus{c}
	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized} {
		status.Conditions = append(status.Conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: created})
	}
	for _, kind := range []corev1.PodConditionType{corev1.ContainersReady, corev1.PodReady} {
		status.Conditions = append(status.Conditions, corev1.PodCondition{Type: kind, Status: ready, LastTransitionTime: since, Reason: view.Reason, Message: view.Message})
	}
	return status
}
