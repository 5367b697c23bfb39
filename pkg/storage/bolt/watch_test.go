package bolt

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
)

// watchAll are the options of a watch of everything after a revision.
func watchAll(rv string, bookmarks bool) storage.ListOptions {
	pred := storage.Everything
	pred.AllowWatchBookmarks = bookmarks
	return storage.ListOptions{ResourceVersion: rv, Predicate: pred, Recursive: true}
}

func (f *fixture) mustWatch(tb testing.TB, opts storage.ListOptions) watch.Interface {
	tb.Helper()
	w, err := f.Watch(tb.Context(), "/pods/", opts)
	if err != nil {
		tb.Fatal(err)
	}
	return w
}

func (f *fixture) currentRV() string {
	return strconv.FormatInt(f.db.Snapshot().Revision(), 10)
}

func wantBookmark(tb testing.TB, e watch.Event, rv string) {
	tb.Helper()
	pod, ok := e.Object.(*example.Pod)
	if !ok || e.Type != watch.Bookmark || pod.ResourceVersion != rv {
		tb.Fatalf("got %s %v, want a bookmark at %s", e.Type, e.Object, rv)
	}
}

func wantStatus(tb testing.TB, e watch.Event, code int32, reason metav1.StatusReason) {
	tb.Helper()
	status, ok := e.Object.(*metav1.Status)
	if !ok || e.Type != watch.Error || status.Code != code || status.Reason != reason {
		tb.Fatalf("got %s %v, want an error %d %s", e.Type, e.Object, code, reason)
	}
}

func wantClosed(tb testing.TB, w watch.Interface) {
	tb.Helper()
	select {
	case e, open := <-w.ResultChan():
		if open {
			tb.Fatalf("got %s %v, want the end of the watch", e.Type, e.Object)
		}
	case <-time.After(patience):
		tb.Fatal("the watch does not end")
	}
}

func TestBookmarksByClock(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	f := newFixture(t, func(c *Config) { c.Clock = clk })
	w := f.mustWatch(t, watchAll("1", true))
	for range 3 {
		// A write that the watch does not select moves its revision all the same.
		f.increaseRV(t.Context(), t)
		eventually(t, "the watch waits for its next bookmark", clk.HasWaiters)
		clk.Step(DefaultBookmarkPeriod)
		wantBookmark(t, nextEvent(t, w), f.currentRV())
	}
}

func TestRequestWatchProgress(t *testing.T) {
	f := newFixture(t)
	with := f.mustWatch(t, watchAll("1", true))
	without := f.mustWatch(t, watchAll("1", false))
	for range 50 {
		f.increaseRV(t.Context(), t)
		want := f.db.Snapshot().Revision()
		if err := f.RequestWatchProgress(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantBookmark(t, nextEvent(t, with), strconv.FormatInt(want, 10))
	}
	without.Stop()
	wantClosed(t, without)
}

func TestAlarmRemembersARequest(t *testing.T) {
	a := &alarm{clock: clocktesting.NewFakeClock(time.Unix(0, 0)), period: time.Hour}
	a.ring()
	wait, disarm := a.arm(t.Context())
	if wait.Err() == nil {
		t.Error("a request while nobody waited is lost")
	}
	disarm()
	wait, disarm = a.arm(t.Context())
	defer disarm()
	if wait.Err() != nil {
		t.Error("one request rang twice")
	}
}

func TestAlarmBeforeTheDeadline(t *testing.T) {
	start := time.Unix(1000, 0)
	tests := []struct {
		name    string
		timeout time.Duration
		want    time.Duration
	}{
		{"far away", time.Hour, time.Minute},
		{"within the period", 30 * time.Second, 28 * time.Second},
		{"almost there", time.Second, time.Minute},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			a := &alarm{clock: clocktesting.NewFakeClock(start), period: time.Minute}
			ctx, cancel := context.WithDeadline(t.Context(), start.Add(tc.timeout))
			defer cancel()
			if got := a.delay(ctx); got != tc.want {
				t.Errorf("rings after %v, want %v", got, tc.want)
			}
		})
	}
}

func TestSlowWatchDelaysNobodyAndExpires(t *testing.T) {
	needsBuffer(t)
	f := newFixture(t)
	slow, fast := f.mustWatch(t, watchAll("1", false)), f.mustWatch(t, watchAll("1", false))
	const writes = resultBuffer + 50
	for i := range writes {
		pod := f.mustCreate(t, "ns", fmt.Sprintf("pod-%d", i))
		if e := nextEvent(t, fast); e.Object.(*example.Pod).Name != pod.Name {
			t.Fatalf("event %d is of %v", i, e.Object)
		}
	}
	eventually(t, "the slow watch is full", func() bool { return len(slow.ResultChan()) == resultBuffer })
	// It has not seen all yet, and what it has taken from the log ends before this.
	f.mustCreate(t, "ns", "late")
	f.compact(t.Context(), t, f.currentRV())
	seen := 0
	for e := range slow.ResultChan() {
		if e.Type == watch.Error {
			wantStatus(t, e, http.StatusGone, metav1.StatusReasonExpired)
			wantClosed(t, slow)
			break
		}
		if want := fmt.Sprintf("pod-%d", seen); unwrap(e).Object.(*example.Pod).Name != want {
			t.Fatalf("event %d is of %v, want %s", seen, e.Object, want)
		}
		seen++
	}
	if seen < resultBuffer || seen > writes {
		t.Errorf("the slow watch saw %d events before its end", seen)
	}
}

func TestWatchThatCannotBegin(t *testing.T) {
	f := newFixture(t)
	f.mustCreate(t, "ns", "a")
	f.mustCreate(t, "ns", "b")
	f.compact(t.Context(), t, f.currentRV())
	future := watchAll("1000", true)
	future.SendInitialEvents = ptr.To(true)
	tests := []struct {
		name   string
		opts   storage.ListOptions
		code   int32
		reason metav1.StatusReason
	}{
		{"compacted", watchAll("1", false), http.StatusGone, metav1.StatusReasonExpired},
		{"list of the future", future, http.StatusGatewayTimeout, metav1.StatusReasonTimeout},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			w := f.mustWatch(t, tc.opts)
			e := nextEvent(t, w)
			wantStatus(t, e, tc.code, tc.reason)
			if d := e.Object.(*metav1.Status).Details; tc.code == http.StatusGatewayTimeout && d.RetryAfterSeconds <= 0 {
				t.Error("the client is not told when to retry")
			}
			wantClosed(t, w)
		})
	}
	if _, err := f.Watch(t.Context(), "/pods/", watchAll("x", false)); err == nil {
		t.Error("a resource version that is no number was accepted")
	}
}

func TestWatchFromTheFutureWaits(t *testing.T) {
	f := newFixture(t)
	next := f.db.Snapshot().Revision() + 1
	w := f.mustWatch(t, watchAll(strconv.FormatInt(next, 10), false))
	f.mustCreate(t, "ns", "unseen")
	f.mustCreate(t, "ns", "seen")
	if e := nextEvent(t, w); e.Object.(*example.Pod).Name != "seen" {
		t.Errorf("got %v", e.Object)
	}
}

func TestCloseJoinsWatches(t *testing.T) {
	f := newFixture(t)
	f.mustCreate(t, "ns", "a")
	var watches []watch.Interface
	for range 10 {
		watches = append(watches, f.mustWatch(t, watchAll(f.currentRV(), true)))
	}
	f.Close()
	for _, w := range watches {
		select {
		case <-w.(*watcher).done:
		default:
			t.Error("a watch outlives Close")
		}
		wantClosed(t, w)
		w.Stop()
	}
	if n := len(f.watchers); n != 0 {
		t.Errorf("%d watches are still known", n)
	}
	if _, err := f.Watch(t.Context(), "/pods/", watchAll("", false)); err == nil {
		t.Error("a closed store watches")
	}
}

func TestWatchersDoNotShareObjects(t *testing.T) {
	f := newFixture(t)
	first, second := f.mustWatch(t, watchAll("1", false)), f.mustWatch(t, watchAll("1", false))
	pod := f.mustCreate(t, "ns", "a")
	got := nextEvent(t, first).Object.(*example.Pod)
	got.Labels = map[string]string{"mine": "true"}
	if other := nextEvent(t, second).Object.(*example.Pod); other.Labels != nil {
		t.Errorf("a change of one client's object is seen by another: %v", other)
	}
	f.mustLabel(t, pod, "a", "b")
	got = nextEvent(t, first).Object.(*example.Pod)
	if got.ResourceVersion != f.currentRV() || got.Labels["a"] != "b" {
		t.Errorf("got %v", got)
	}
}

func TestSelectorTransitions(t *testing.T) {
	f := newFixture(t)
	opts := watchAll("1", false)
	opts.Predicate = storage.SelectionPredicate{
		Label: labels.SelectorFromSet(labels.Set{"on": "yes"}),
		GetAttrs: func(obj runtime.Object) (labels.Set, fields.Set, error) {
			return obj.(*example.Pod).Labels, nil, nil
		},
	}
	w := f.mustWatch(t, opts)
	pod := f.mustCreate(t, "ns", "a")
	want := []struct {
		label string
		event watch.EventType
		shown string
	}{
		{"yes", watch.Added, "yes"},
		{"no", watch.Deleted, "yes"},
		{"maybe", "", ""},
		{"yes", watch.Added, "yes"},
	}
	for _, step := range want {
		pod = f.mustLabel(t, pod, "on", step.label)
		if step.event == "" {
			continue
		}
		e := nextEvent(t, w)
		got := e.Object.(*example.Pod)
		if e.Type != step.event || got.Labels["on"] != step.shown || got.ResourceVersion != pod.ResourceVersion {
			t.Errorf("label %s: got %s %v, want %s showing %s at %s",
				step.label, e.Type, got, step.event, step.shown, pod.ResourceVersion)
		}
	}
}
