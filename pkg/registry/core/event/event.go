// Package event serves the events of a standalone server: a list without
// entries, because conditions and reasons of objects say what happened to them.
// Clients ask for events whenever they describe an object, and take an answer of
// 404 for a fault.
//
// A watch has no goroutine and ends with its request.
package event

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/registry/kind"
)

// revision is that of the list, which never changes.
const revision = "1"

// REST serves no events.
type REST struct {
	table *kind.Table[*corev1.Event]
}

var (
	_ rest.Getter               = (*REST)(nil)
	_ rest.Lister               = (*REST)(nil)
	_ rest.Watcher              = (*REST)(nil)
	_ rest.Scoper               = (*REST)(nil)
	_ rest.ShortNamesProvider   = (*REST)(nil)
	_ rest.SingularNameProvider = (*REST)(nil)
)

// New returns the storage of events.
func New(clk clock.PassiveClock) *REST {
	text := func(name string, cell func(*corev1.Event) string) kind.Column[*corev1.Event] {
		return kind.Column[*corev1.Event]{Name: name, Cell: func(e *corev1.Event, _ time.Time) any { return cell(e) }}
	}
	return &REST{table: kind.NewTable(clk,
		text("Type", func(e *corev1.Event) string { return e.Type }),
		text("Reason", func(e *corev1.Event) string { return e.Reason }),
		text("Object", func(e *corev1.Event) string { return e.InvolvedObject.Kind + "/" + e.InvolvedObject.Name }),
		text("Message", func(e *corev1.Event) string { return e.Message }),
	)}
}

// New returns an empty event.
func (r *REST) New() runtime.Object { return &corev1.Event{} }

// NewList returns an empty list.
func (r *REST) NewList() runtime.Object { return &corev1.EventList{} }

// Destroy does nothing.
func (r *REST) Destroy() {}

// NamespaceScoped is true.
func (r *REST) NamespaceScoped() bool { return true }

// ShortNames are further names for command lines.
func (r *REST) ShortNames() []string { return []string{"ev"} }

// GetSingularName is the name of one on command lines.
func (r *REST) GetSingularName() string { return "event" }

// Get returns NotFound.
func (r *REST) Get(_ context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	return nil, apierrors.NewNotFound(corev1.Resource("events"), name)
}

// List returns the list without entries.
func (r *REST) List(context.Context, *metainternalversion.ListOptions) (runtime.Object, error) {
	return &corev1.EventList{ListMeta: metav1.ListMeta{ResourceVersion: revision}, Items: []corev1.Event{}}, nil
}

// Watch reports nothing, but that there is nothing if it is asked to.
func (r *REST) Watch(_ context.Context, options *metainternalversion.ListOptions) (watch.Interface, error) {
	w := watch.NewFakeWithChanSize(1, false)
	if options != nil && options.SendInitialEvents != nil && *options.SendInitialEvents {
		w.Action(watch.Bookmark, &corev1.Event{ObjectMeta: metav1.ObjectMeta{
			ResourceVersion: revision, Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"},
		}})
	}
	return w, nil
}

// ConvertToTable prints events.
func (r *REST) ConvertToTable(ctx context.Context, object, options runtime.Object) (*metav1.Table, error) {
	return r.table.ConvertToTable(ctx, object, options)
}
