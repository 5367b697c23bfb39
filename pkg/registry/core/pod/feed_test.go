package pod

import (
	"context"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	testingclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
)

func podNamed(name, uid string, marks map[string]string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, UID: types.UID(uid), Labels: marks}}
}

// next is the next event of a watch, as TYPE NAME.
func next(t *testing.T, w watch.Interface) string {
	t.Helper()
	select {
	case event, ok := <-w.ResultChan():
		if !ok {
			return "end"
		}
		switch obj := event.Object.(type) {
		case *corev1.Pod:
			return string(event.Type) + " " + obj.Name
		case *metav1.Status:
			return string(event.Type) + " " + string(obj.Reason)
		}
		t.Fatalf("unexpected %T", event.Object)
	case <-time.After(time.Minute):
		t.Fatal("nothing is reported")
	}
	return ""
}

func wantNext(t *testing.T, w watch.Interface, want ...string) {
	t.Helper()
	for _, each := range want {
		if got := next(t, w); got != each {
			t.Fatalf("the watch reports %q, want %q", got, each)
		}
	}
}

// TestWatchSeesWhatIsSelected changes pods beside a watch that selects by label: a
// pod that begins or ceases to match is added or deleted.
func TestWatchSeesWhatIsSelected(t *testing.T) {
	feed := NewFeed(testingclock.NewFakePassiveClock(time.Now()))
	red := map[string]string{"team": "red"}
	feed.Set(podNamed("a", "1", red))
	feed.Set(podNamed("b", "2", nil))
	selector, err := labels.Parse("team=red")
	if err != nil {
		t.Fatal(err)
	}
	options := &metainternalversion.ListOptions{LabelSelector: selector, SendInitialEvents: ptr.To(true), AllowWatchBookmarks: true}
	w, err := startWatch(t.Context(), feed, selectionOf("n", options), options)
	if err != nil {
		t.Fatal(err)
	}
	wantNext(t, w, "ADDED a", "BOOKMARK ")
	feed.Set(podNamed("b", "2", red))
	feed.Set(podNamed("b", "2", red))
	feed.Set(podNamed("b", "2", nil))
	feed.Set(podNamed("a", "3", red)) // another pod of the name
	feed.Remove(types.NamespacedName{Namespace: "n", Name: "a"}, "1")
	feed.Remove(types.NamespacedName{Namespace: "n", Name: "a"}, "3")
	wantNext(t, w, "ADDED b", "MODIFIED b", "DELETED b", "DELETED a", "ADDED a", "DELETED a")
	w.Stop()
	wantNext(t, w, "end")
}

// TestWatchResumes begins where a list ended, and is refused where that is not
// known any more, or was never given out by this process.
func TestWatchResumes(t *testing.T) {
	feed := NewFeed(testingclock.NewFakePassiveClock(time.Now()))
	feed.Set(podNamed("a", "1", nil))
	_, listed := feed.List("")
	feed.Set(podNamed("b", "2", nil))
	from := func(revision uint64) watch.Interface {
		options := &metainternalversion.ListOptions{ResourceVersion: strconv.FormatUint(revision, 10)}
		w, err := startWatch(t.Context(), feed, selectionOf("", options), options)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	w := from(listed)
	wantNext(t, w, "ADDED b")
	w.Stop()
	for range 2 * historyLimit {
		feed.Set(podNamed("a", "1", nil))
	}
	for _, revision := range []uint64{1, listed, listed + 1_000_000} {
		wantNext(t, from(revision), "ERROR "+string(metav1.StatusReasonExpired), "end")
	}
	if len(feed.history) > 2*historyLimit {
		t.Errorf("%d changes are kept", len(feed.history))
	}
	options := &metainternalversion.ListOptions{ResourceVersion: "x"}
	if _, err := startWatch(t.Context(), feed, selectionOf("", options), options); !apierrors.IsBadRequest(err) {
		t.Errorf("a resource version that is none: %v", err)
	}
}

// TestWatchEndsWithItsRequest sees that no goroutine waits for ever.
func TestWatchEndsWithItsRequest(t *testing.T) {
	feed := NewFeed(testingclock.NewFakePassiveClock(time.Now()))
	feed.Set(podNamed("a", "1", nil))
	ctx, cancel := context.WithCancel(t.Context())
	w, err := startWatch(ctx, feed, selectionOf("", nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	cancel() // nobody has taken the first event
	for next(t, w) != "end" {
	}
}
