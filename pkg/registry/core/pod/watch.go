package pod

import (
	"context"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
)

// selection says which pods a request is about.
type selection struct {
	namespace string
	label     labels.Selector
	field     fields.Selector
}

func selectionOf(namespace string, options *metainternalversion.ListOptions) selection {
	s := selection{namespace: namespace, label: labels.Everything(), field: fields.Everything()}
	if options != nil && options.LabelSelector != nil {
		s.label = options.LabelSelector
	}
	if options != nil && options.FieldSelector != nil {
		s.field = options.FieldSelector
	}
	return s
}

func (s selection) matches(pod *corev1.Pod) bool {
	if pod == nil || s.namespace != "" && pod.Namespace != s.namespace {
		return false
	}
	return s.label.Matches(labels.Set(pod.Labels)) && s.field.Matches(fieldsOf(pod))
}

// fieldsOf are the fields that can be selected by; see package core.
func fieldsOf(pod *corev1.Pod) fields.Set {
	return fields.Set{
		"metadata.name": pod.Name, "metadata.namespace": pod.Namespace,
		"spec.nodeName": pod.Spec.NodeName, "spec.restartPolicy": string(pod.Spec.RestartPolicy),
		"spec.schedulerName": pod.Spec.SchedulerName, "spec.serviceAccountName": pod.Spec.ServiceAccountName,
		"status.phase": string(pod.Status.Phase), "status.podIP": pod.Status.PodIP, "status.podIPs": pod.Status.PodIP,
		"status.nominatedNodeName": pod.Status.NominatedNodeName,
	}
}

// event is what a watch of the selection sees of a change; ok is false for
// nothing. A pod that begins or ceases to match is added or deleted.
func (s selection) event(c change) (event watch.Event, ok bool) {
	now, before := c.kind != watch.Deleted && s.matches(c.pod), s.matches(c.before)
	switch {
	case now && before:
		return watch.Event{Type: watch.Modified, Object: c.pod}, true
	case now:
		return watch.Event{Type: watch.Added, Object: c.pod}, true
	case before:
		return watch.Event{Type: watch.Deleted, Object: withRevision(c.before, c.revision)}, true
	}
	return watch.Event{}, false
}

// watcher sends what a selection sees of a feed's changes.
type watcher struct {
	feed      *Feed
	selection selection
	results   chan watch.Event
	cancel    context.CancelFunc
}

var _ watch.Interface = (*watcher)(nil)

// startWatch begins a watch. It ends with ctx, or when it is stopped.
func startWatch(ctx context.Context, feed *Feed, s selection, options *metainternalversion.ListOptions) (watch.Interface, error) {
	if options == nil {
		options = &metainternalversion.ListOptions{}
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{feed: feed, selection: s, results: make(chan watch.Event), cancel: cancel}
	initial := options.SendInitialEvents != nil && *options.SendInitialEvents
	if version := options.ResourceVersion; !initial && version != "" && version != "0" {
		from, err := strconv.ParseUint(version, 10, 64)
		if err != nil {
			cancel()
			return nil, apierrors.NewBadRequest(fmt.Sprintf("resourceVersion: %q is no resource version", version))
		}
		go w.run(ctx, from, nil)
		return w, nil
	}
	pods, revision := feed.List(s.namespace)
	first := make([]watch.Event, 0, len(pods)+1)
	for _, pod := range pods {
		if s.matches(pod) && !(options.SendInitialEvents != nil && !initial) {
			first = append(first, watch.Event{Type: watch.Added, Object: pod})
		}
	}
	if initial {
		first = append(first, bookmark(revision))
	}
	go w.run(ctx, revision, first)
	return w, nil
}

// bookmark says that everything there was has been sent.
func bookmark(revision uint64) watch.Event {
	return watch.Event{Type: watch.Bookmark, Object: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		ResourceVersion: strconv.FormatUint(revision, 10),
		Annotations:     map[string]string{metav1.InitialEventsAnnotationKey: "true"},
	}}}
}

// run sends first, and then what changes after a revision.
func (w *watcher) run(ctx context.Context, revision uint64, first []watch.Event) {
	defer close(w.results)
	defer w.cancel()
	for _, event := range first {
		if !w.send(ctx, event) {
			return
		}
	}
	for {
		changes, next, ok := w.feed.after(revision)
		if !ok {
			status := apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d", revision)).Status()
			w.send(ctx, watch.Event{Type: watch.Error, Object: &status})
			return
		}
		for _, c := range changes {
			revision = c.revision
			if event, ok := w.selection.event(c); ok && !w.send(ctx, event) {
				return
			}
		}
		select {
		case <-next:
		case <-ctx.Done():
			return
		}
	}
}

func (w *watcher) send(ctx context.Context, event watch.Event) bool {
	select {
	case w.results <- event:
		return true
	case <-ctx.Done():
		return false
	}
}

// Stop ends the watch.
func (w *watcher) Stop() { w.cancel() }

// ResultChan is closed when the watch has ended.
func (w *watcher) ResultChan() <-chan watch.Event { return w.results }

// withRevision is the pod as of a revision.
func withRevision(pod *corev1.Pod, revision uint64) *corev1.Pod {
	copied := *pod
	copied.ResourceVersion = strconv.FormatUint(revision, 10)
	return &copied
}
