package bolt

import (
	"context"

	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/storage/kv"
)

// tooLargeRetrySeconds is when a client that is ahead of us may ask again.
const tooLargeRetrySeconds = 1

// Watch implements storage.Interface. What it begins with:
//
//	SendInitialEvents  resourceVersion  begins with
//	unset              unset or 0       the objects there are, as ADDED
//	unset              N                what was written after N
//	true               unset or N       the objects there are (at N or later), as
//	                                    ADDED, then a bookmark that says so if
//	                                    bookmarks are allowed
//	false              unset or 0       what is written from now on
//	false              N                what was written after N
//
// That the beginning cannot be had is told by an ERROR event, not by an error,
// so that clients meet it in one place. The watch ends with ctx, with Stop, and
// with Close of the Store.
func (s *Store) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	key, err := s.prepareKey(key, opts.Recursive)
	if err != nil {
		return nil, err
	}
	parsed, err := s.codec.versioner.ParseResourceVersion(opts.ResourceVersion)
	if err != nil {
		return nil, err
	}
	rev := int64(parsed)
	wantInitial := rev == 0
	if opts.SendInitialEvents != nil {
		wantInitial = *opts.SendInitialEvents
	}
	w := newWatcher(s, key, opts)
	snap := s.db.Snapshot()
	current := snap.Revision()
	w.seen = current
	switch {
	case wantInitial && rev > current:
		w.start = failToStart(storage.NewTooLargeResourceVersionError(parsed, uint64(current), tooLargeRetrySeconds))
	case wantInitial:
		w.start = w.sendInitial(snap)
	case rev != 0:
		w.seen = rev
	}
	from := s.db.WatchKey
	if opts.Recursive {
		from = s.db.Watch
	}
	if w.cursor, err = from(key, w.seen); err != nil {
		w.start = failToStart(err)
	}
	if err := s.launch(ctx, w); err != nil {
		return nil, err
	}
	return w, nil
}

func failToStart(err error) func(context.Context) error {
	return func(context.Context) error { return err }
}

// launch starts the goroutine of a watch, unless the store is closed.
func (s *Store) launch(ctx context.Context, w *watcher) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return apiError(kv.ErrClosed)
	}
	ctx, w.cancel = context.WithCancel(ctx)
	w.position.Store(w.seen)
	s.watchers[w] = struct{}{}
	go w.run(ctx)
	return nil
}

// forget is called by a watch as the last thing it does.
func (s *Store) forget(w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watchers, w)
}

// RequestWatchProgress implements storage.Interface. Every watch of the store
// that allows bookmarks is sent one soon, at the revision of the call or later.
func (s *Store) RequestWatchProgress(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watchers {
		if w.bookmarks {
			w.alarm.ring()
		}
	}
	klog.FromContext(ctx).V(4).Info("Watch progress requested", "resource", s.groupResource, "watches", len(s.watchers))
	return nil
}
