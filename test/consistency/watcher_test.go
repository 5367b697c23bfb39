package consistency

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/utils/ptr"
)

// beginning is how a watcher that is not just resuming begins.
type beginning string

const (
	// fromNothing asks for no revision and gets the objects there are.
	fromNothing beginning = "from nothing"
	// fromList lists and watches from there.
	fromList beginning = "from a list"
	// fromRecent lists at a revision of the past, and watches from there.
	fromRecent beginning = "from the past"
	// fromWatchList asks for the initial events and a bookmark behind them.
	fromWatchList beginning = "from a watch list"
	// resumed goes on from the last event or bookmark.
	resumed beginning = "resumed"
)

// beginnings are those that need nothing but the storage. The first three
// cannot be expired.
var beginnings = []beginning{fromList, fromNothing, fromWatchList, fromRecent}

// watcher watches one selection in one session after another, until it has
// seen the last write.
type watcher struct {
	tb     testing.TB
	store  *podStore
	random *rand.Rand
	// number is one of 0, 1, 2 and so on.
	number    int
	sel       selection
	bookmarks bool
	end       *theEndOfWrites

	sessions []*session
	begun    map[beginning]int
	expired  int
	// replica is what the client believes to be there at revision seen; 0 while
	// it cannot know whether it has been told all that was there at the beginning.
	replica map[string]version
	seen    int64
}

// theEndOfWrites tells watchers when all writes are done.
type theEndOfWrites struct {
	// done is closed when rev, the revision of the last write, is set.
	done chan struct{}
	rev  int64
}

func (e *theEndOfWrites) reached() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

// errExpired says that the client must begin anew.
var errExpired = errors.New("expired")

// run ends when the replica is that of the last write.
func (w *watcher) run(ctx context.Context) error {
	how := beginnings[w.number%len(beginnings)]
	for {
		// Each is away at least once, after its first session.
		if len(w.sessions) == 1 || w.random.IntN(6) == 0 {
			if err := w.away(ctx); err != nil {
				return err
			}
		}
		s, stream, err := w.begin(ctx, how)
		if err == nil {
			w.begun[how]++
			w.sessions = append(w.sessions, s)
			err = w.follow(ctx, s, stream)
			stream.Stop()
		}
		if err == nil && w.random.IntN(2) == 0 {
			err = w.drain(s, stream)
		}
		switch {
		case errors.Is(err, errExpired):
			w.expired++
			how = beginnings[w.random.IntN(3)]
		case err != nil:
			return fmt.Errorf("watcher of %+v, begun %s: %w", w.sel, how, err)
		case w.done():
			return nil
		case w.seen == 0 || len(w.sessions) > 1 && w.random.IntN(4) == 0:
			how = beginnings[w.random.IntN(len(beginnings))]
		default:
			how = resumed
		}
	}
}

// away waits, as a client that lost its network, until what it has not seen
// may be gone.
func (w *watcher) away(ctx context.Context) error {
	seen := w.seen
	return eventually(ctx, "compaction", func() bool {
		return w.end.reached() || w.store.CompactRevision() > seen
	})
}

// done says whether the last write has been seen.
func (w *watcher) done() bool { return w.end.reached() && w.seen >= w.end.rev }

// begin starts a session. If its revision is gone, the error is errExpired.
func (w *watcher) begin(ctx context.Context, how beginning) (*session, watch.Interface, error) {
	s := &session{sel: w.sel}
	opts := w.sel.options()
	opts.Predicate.AllowWatchBookmarks = w.bookmarks
	now, err := w.store.GetCurrentResourceVersion(ctx)
	if err != nil {
		return nil, nil, err
	}
	s.from = int64(now)
	switch how {
	case fromNothing, fromWatchList:
		s.initial = true
		w.replica, w.seen = map[string]version{}, 0
		opts.Predicate.AllowWatchBookmarks = true
		if how == fromWatchList {
			opts.SendInitialEvents = ptr.To(true)
			opts.ResourceVersionMatch = metav1.ResourceVersionMatchNotOlderThan
		}
	case fromList:
		err = w.list(ctx, 0)
	case fromRecent:
		compacted := w.store.CompactRevision()
		err = w.list(ctx, max(1, compacted+w.random.Int64N(s.from-compacted+1)))
	}
	if err != nil {
		return nil, nil, err
	}
	if !s.initial {
		s.from = w.seen
		opts.ResourceVersion = revision(s.from)
	}
	stream, err := w.store.Watch(ctx, w.sel.key(), opts)
	if err != nil {
		return nil, nil, err
	}
	s.to = s.from
	if s.initial {
		now, err = w.store.GetCurrentResourceVersion(ctx)
		s.to = int64(now)
	}
	return s, stream, err
}

// list sets the replica to what is there at a revision; 0: now.
func (w *watcher) list(ctx context.Context, at int64) error {
	opts := w.sel.options()
	if at != 0 {
		opts.ResourceVersion, opts.ResourceVersionMatch = revision(at), metav1.ResourceVersionMatchExact
	}
	pods := &example.PodList{}
	err := w.store.GetList(ctx, w.sel.key(), opts, pods)
	if apierrors.IsResourceExpired(err) && at < w.store.CompactRevision() {
		return errExpired
	}
	if err != nil {
		return fmt.Errorf("list at %d: %w", at, err)
	}
	w.replica = map[string]version{}
	for i := range pods.Items {
		v, err := versionOf(&pods.Items[i])
		if err != nil {
			return err
		}
		w.replica[v.Key] = v
	}
	w.seen, err = strconv.ParseInt(pods.ResourceVersion, 10, 64)
	return err
}

// follow reads events until the last write has been seen, or for a while. If
// the watch expires, the error is errExpired.
func (w *watcher) follow(ctx context.Context, s *session, stream watch.Interface) error {
	// Some read only what comes first, some everything.
	limit := w.random.IntN(400)
	if len(w.sessions) == 1 {
		limit = 1 + w.random.IntN(20)
	}
	stall := w.random.IntN(2000)
	end := w.end.done
	for read := 0; !w.done(); read++ {
		if !w.end.reached() && read >= limit {
			return nil
		}
		if read == stall {
			if err := w.away(ctx); err != nil {
				return err
			}
		}
		var e watch.Event
		var open bool
		select {
		case <-end:
			end = nil
			continue
		case e, open = <-stream.ResultChan():
		case <-ctx.Done():
			return fmt.Errorf("seen up to %d of %d: %w", w.seen, w.end.rev, ctx.Err())
		}
		if !open {
			return errors.New("the watch ended by itself, without a word")
		}
		if e.Type == watch.Error {
			return w.fail(s, apierrors.FromObject(e.Object))
		}
		if err := w.take(s, e); err != nil {
			return err
		}
	}
	return nil
}

// drain takes what was on its way when the watch was stopped.
func (w *watcher) drain(s *session, stream watch.Interface) error {
	for e := range stream.ResultChan() {
		if e.Type == watch.Error {
			return w.fail(s, apierrors.FromObject(e.Object))
		}
		if err := w.take(s, e); err != nil {
			return err
		}
	}
	return nil
}

// fail judges the error that ends a session.
func (w *watcher) fail(s *session, err error) error {
	if !apierrors.IsResourceExpired(err) {
		return err
	}
	if compacted := w.store.CompactRevision(); s.position() >= compacted && !s.initial {
		// A watch with a selector may have passed by revisions that its client
		// knows nothing of, but never ones that were still there.
		return fmt.Errorf("410 for a client at %d with all after %d still there", s.position(), compacted)
	}
	s.expired = true
	return errExpired
}

// take records an event and keeps the replica.
func (w *watcher) take(s *session, got watch.Event) error {
	pod := podOf(w.tb, got.Object)
	v, err := versionOf(pod)
	if err != nil {
		return err
	}
	e := event{got.Type, v}
	s.events = append(s.events, e)
	if e.Type != watch.Bookmark {
		if w.seen != 0 || e.Rev > s.to {
			// What is newer than the beginning comes after it.
			w.seen = max(w.seen, e.Rev)
		}
		return e.apply(w.replica)
	}
	w.seen = max(w.seen, e.Rev)
	ends, err := storage.HasInitialEventsEndBookmarkAnnotation(pod)
	if ends {
		// Now the client knows where its watch began, and that it is no older than its request.
		if e.Rev < s.from {
			return fmt.Errorf("initial events at %d, asked for at %d", e.Rev, s.from)
		}
		s.from, s.to = e.Rev, e.Rev
	}
	return err
}

// eventually waits for a condition.
func eventually(ctx context.Context, what string, condition func() bool) error {
	for !condition() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("did not come true: %s: %w", what, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}
