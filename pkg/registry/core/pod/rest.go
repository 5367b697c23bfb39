package pod

import (
	"context"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/registry/kind"
)

// resource is what errors call the kind.
var resource = corev1.Resource("pods")

// REST serves the pods of a feed, read-only.
type REST struct {
	feed  *Feed
	table *kind.Table[*corev1.Pod]
}

var (
	_ rest.Getter               = (*REST)(nil)
	_ rest.Lister               = (*REST)(nil)
	_ rest.Watcher              = (*REST)(nil)
	_ rest.Scoper               = (*REST)(nil)
	_ rest.ShortNamesProvider   = (*REST)(nil)
	_ rest.CategoriesProvider   = (*REST)(nil)
	_ rest.SingularNameProvider = (*REST)(nil)
)

// New returns the storage of pods.
func New(feed *Feed, clk clock.PassiveClock) *REST {
	return &REST{feed: feed, table: kind.NewTable(clk, columns...)}
}

// New returns an empty pod.
func (r *REST) New() runtime.Object { return &corev1.Pod{} }

// NewList returns an empty list.
func (r *REST) NewList() runtime.Object { return &corev1.PodList{} }

// Destroy does nothing.
func (r *REST) Destroy() {}

// NamespaceScoped is true.
func (r *REST) NamespaceScoped() bool { return true }

// ShortNames are further names for command lines.
func (r *REST) ShortNames() []string { return []string{"po"} }

// Categories are the groups of resources that pods are found in.
func (r *REST) Categories() []string { return []string{"all"} }

// GetSingularName is the name of one on command lines.
func (r *REST) GetSingularName() string { return "pod" }

// Get returns a pod.
func (r *REST) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	pod, ok := r.feed.Get(types.NamespacedName{Namespace: request.NamespaceValue(ctx), Name: name})
	if !ok {
		return nil, apierrors.NewNotFound(resource, name)
	}
	return pod, nil
}

// List returns the pods that the options select, all of them at once.
func (r *REST) List(ctx context.Context, options *metainternalversion.ListOptions) (runtime.Object, error) {
	s := selectionOf(request.NamespaceValue(ctx), options)
	pods, revision := r.feed.List(s.namespace)
	list := &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.FormatUint(revision, 10)}, Items: []corev1.Pod{}}
	for _, pod := range pods {
		if s.matches(pod) {
			list.Items = append(list.Items, *pod)
		}
	}
	return list, nil
}

// Watch reports changes of the pods that the options select.
func (r *REST) Watch(ctx context.Context, options *metainternalversion.ListOptions) (watch.Interface, error) {
	return startWatch(ctx, r.feed, selectionOf(request.NamespaceValue(ctx), options), options)
}

// ConvertToTable prints pods.
func (r *REST) ConvertToTable(ctx context.Context, object, options runtime.Object) (*metav1.Table, error) {
	return r.table.ConvertToTable(ctx, object, options)
}

var columns = []kind.Column[*corev1.Pod]{
	{Name: "Ready", Description: "Number of containers that are ready, of all.",
		Cell: func(p *corev1.Pod, _ time.Time) any { return readiness(p) }},
	{Name: "Status", Description: "Phase of the pod, or the reason why it is not running.",
		Cell: func(p *corev1.Pod, _ time.Time) any { return state(p) }},
	{Name: "Restarts", Type: "integer", Description: "Always 0: a pod that ends is replaced by another one.",
		Cell: func(*corev1.Pod, time.Time) any { return int64(0) }},
	{Name: "IP", Wide: true, Description: "Address of the pod; pods of one machine have none.",
		Cell: func(p *corev1.Pod, _ time.Time) any { return kind.OrNone(p.Status.PodIP) }},
	{Name: "Node", Wide: true, Description: "Machine on which the pod runs.",
		Cell: func(p *corev1.Pod, _ time.Time) any { return kind.OrNone(p.Spec.NodeName) }},
	{Name: "Image", Wide: true, Description: "Image of the container in which steps run.",
		Cell: func(p *corev1.Pod, _ time.Time) any { return kind.OrNone(image(p)) }},
}

func readiness(p *corev1.Pod) string {
	ready := 0
	for _, c := range p.Status.ContainerStatuses {
		if c.Ready {
			ready++
		}
	}
	return fmt.Sprintf("%d/%d", ready, len(p.Spec.Containers))
}

func state(p *corev1.Pod) string {
	switch {
	case p.DeletionTimestamp != nil:
		return "Terminating"
	case p.Status.Reason != "":
		return p.Status.Reason
	}
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Waiting != nil && c.State.Waiting.Reason != "" {
			return c.State.Waiting.Reason
		}
	}
	return string(p.Status.Phase)
}

func image(p *corev1.Pod) string {
	if len(p.Status.ContainerStatuses) == 0 {
		return ""
	}
	return p.Status.ContainerStatuses[0].Image
}
