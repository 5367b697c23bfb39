package bolt

import (
	"context"
	"errors"
	"math"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	utilflowcontrol "k8s.io/apiserver/pkg/util/flowcontrol"

	"arl.io/arl/pkg/storage/kv"
)

// resultBuffer is how many events may wait for a client before its watch
// waits. It saves context switches; a larger one only costs memory.
const resultBuffer = 100

// watcher is one watch. Its goroutine pulls events from the log, turns them
// into what the client is to see, and waits for the client to take them.
type watcher struct {
	store *Store
	// key is a prefix, or one key if the watch is not recursive.
	key       string
	recursive bool
	pred      storage.SelectionPredicate
	// all is set if pred selects everything.
	all bool
	// bookmarks says whether the client takes bookmarks, and markInitial
	// whether it waits for the one that ends the initial events.
	bookmarks, markInitial bool
	// start sends what the watch begins with. It may be nil.
	start  func(context.Context) error
	cursor *kv.Watcher
	alarm  alarm
	cancel context.CancelFunc
	result chan watch.Event
	done   chan struct{}

	// seen is the revision up to which the client has been sent everything.
	// It belongs to the goroutine.
	seen int64
	// position is, for others to look at, the revision up to which the client
	// has been sent what concerns it, or caughtUp. It moves on batch by batch.
	position atomic.Int64
}

// caughtUp is the position of a watch that waits for events: none is behind.
const caughtUp = math.MaxInt64

var _ watch.Interface = (*watcher)(nil)

func newWatcher(s *Store, key string, opts storage.ListOptions) *watcher {
	pred := opts.Predicate
	initial := opts.SendInitialEvents != nil && *opts.SendInitialEvents
	return &watcher{
		store:       s,
		key:         key,
		recursive:   opts.Recursive,
		pred:        pred,
		all:         pred.Empty(),
		bookmarks:   pred.AllowWatchBookmarks || opts.ProgressNotify,
		markInitial: initial && pred.AllowWatchBookmarks,
		alarm:       alarm{clock: s.clock, period: s.bookmarkPeriod},
		result:      make(chan watch.Event, resultBuffer),
		done:        make(chan struct{}),
	}
}

// ResultChan implements watch.Interface. It is closed when the watch ends.
func (w *watcher) ResultChan() <-chan watch.Event { return w.result }

// Stop implements watch.Interface. It returns when the goroutine of the watch
// has ended. Events that wait in the channel may still be read.
func (w *watcher) Stop() {
	w.cancel()
	<-w.done
}

// run is the goroutine. An error it ends with is the last event; the end of
// the context is none.
func (w *watcher) run(ctx context.Context) {
	defer close(w.done)
	defer w.store.forget(w)
	defer close(w.result)
	defer w.cancel()
	err := w.serve(ctx)
	if err == nil || ctx.Err() != nil {
		return
	}
	w.send(ctx, errorEvent(err))
}

// serve sends the initial events, then everything written later, with
// bookmarks in between.
func (w *watcher) serve(ctx context.Context) error {
	err := w.begin(ctx)
	// The request no longer counts as one that costs as much as a list.
	utilflowcontrol.WatchInitialized(ctx)
	for err == nil && ctx.Err() == nil {
		if !w.bookmarks {
			return w.pull(ctx, ctx)
		}
		err = w.pullUntilAlarm(ctx)
	}
	return err
}

func (w *watcher) begin(ctx context.Context) error {
	start := w.start
	// It may hold a snapshot, which is not to live as long as the watch.
	w.start = nil
	if start != nil {
		if err := start(ctx); err != nil {
			return err
		}
	}
	if w.markInitial {
		return w.sendBookmark(ctx, true)
	}
	return nil
}

// pullUntilAlarm sends events until it is time for a bookmark, and then that.
func (w *watcher) pullUntilAlarm(ctx context.Context) error {
	wait, disarm := w.alarm.arm(ctx)
	err := w.pull(ctx, wait)
	// From here on a request for progress is for the bookmark after this one.
	disarm()
	if err != nil || ctx.Err() != nil {
		return err
	}
	if err := w.catchUp(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	return w.sendBookmark(ctx, false)
}

// pull sends events until wait ends, which is no error.
func (w *watcher) pull(ctx, wait context.Context) error {
	for wait.Err() == nil {
		if err := w.next(ctx, wait); err != nil {
			if wait.Err() != nil && errors.Is(err, wait.Err()) {
				return nil
			}
			return err
		}
	}
	return nil
}

// catchUp sends what has been written up to now, so that the bookmark that
// follows is not older than the request for it.
func (w *watcher) catchUp(ctx context.Context) error {
	for target := w.store.db.Snapshot().Revision(); w.seen < target; {
		if err := w.next(ctx, ctx); err != nil {
			return err
		}
	}
	return nil
}

// next waits for events and sends them.
func (w *watcher) next(ctx, wait context.Context) error {
	w.position.Store(caughtUp)
	events, upTo, err := w.cursor.Next(wait)
	if len(events) > 0 {
		// What came before them was of no concern to this watch.
		w.position.Store(events[0].Rev - 1)
	}
	if err != nil {
		w.seen = max(w.seen, upTo)
		return err
	}
	for _, e := range events {
		if (e.Current().IsLarge() || e.Previous().IsLarge()) && !w.drained(ctx) {
			return ctx.Err()
		}
		out, err := w.convert(ctx, e)
		if err != nil {
			return err
		}
		if out != nil && !w.send(ctx, *out) {
			return ctx.Err()
		}
	}
	w.seen = max(w.seen, upTo)
	return nil
}

// send waits for room in the channel. It returns whether the watch goes on.
func (w *watcher) send(ctx context.Context, e watch.Event) bool {
	select {
	case w.result <- e: // as good as always, and far cheaper than to look at two channels
		return true
	default:
	}
	select {
	case w.result <- e:
		return true
	case <-ctx.Done():
		return false
	}
}

// sendInitial returns what sends the objects of a snapshot.
func (w *watcher) sendInitial(snap kv.Snapshot) func(context.Context) error {
	return func(ctx context.Context) error {
		if !w.recursive {
			entry, found := snap.Get(w.key)
			if !found {
				return nil
			}
			_, err := w.sendEntry(ctx, entry)
			return err
		}
		var err error
		snap.Ascend(w.key, w.key, func(entry kv.Entry) (goOn bool) {
			goOn, err = w.sendEntry(ctx, entry)
			return goOn && err == nil
		})
		return err
	}
}

func (w *watcher) sendEntry(ctx context.Context, entry kv.Entry) (goOn bool, err error) {
	if entry.IsLarge() && !w.drained(ctx) {
		return false, ctx.Err()
	}
	raw, err := entry.Load()
	if err != nil {
		return false, err
	}
	data, _, err := w.store.codec.open(ctx, entry.Key, raw)
	if err != nil {
		return false, err
	}
	obj, err := w.store.codec.decode(data)
	if err != nil {
		return false, &corruptError{problem: undecodable, rev: entry.ModRev, err: err}
	}
	if !w.selects(obj) {
		return true, nil
	}
	if err := w.store.codec.setRevision(obj, entry.ModRev); err != nil {
		return false, err
	}
	return w.send(ctx, watch.Event{Type: watch.Added, Object: obj}), nil
}

// sendBookmark tells the client the revision up to which it has seen
// everything.
func (w *watcher) sendBookmark(ctx context.Context, endsInitial bool) error {
	obj := w.store.newFunc()
	if err := w.store.codec.setRevision(obj, w.seen); err != nil {
		return err
	}
	if endsInitial {
		if err := storage.AnnotateInitialEventsEndBookmark(obj); err != nil {
			return err
		}
	}
	w.send(ctx, watch.Event{Type: watch.Bookmark, Object: obj})
	return nil
}
