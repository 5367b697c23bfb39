package kv

import "errors"

// follower is a watch that goes on over many steps, and over restarts.
type follower struct {
	watcher *Watcher
	prefix  string
	seen    int64
}

// tenKeys is a prefix that ten of the keys have.
func (w *walk) tenKeys() string { return keyN(w.rnd.IntN(modelKeys/10) * 10)[:6] }

// watch reads the events since a random revision.
func (w *walk) watch() {
	f := &follower{prefix: w.tenKeys(), seen: w.rnd.Int64N(w.m.rev + 1)}
	if w.start(f) {
		for f.seen < w.m.rev {
			w.advance(f)
		}
	}
}

// start starts the watch of f, if what it has not seen is still there.
func (w *walk) start(f *follower) bool {
	var err error
	f.watcher, err = w.db.Watch(f.prefix, f.seen)
	if f.seen < w.m.compacted {
		wantErr(w, "Watch", err, ErrCompacted)
		return false
	}
	if err != nil {
		w.Fatalf("Watch: %v", err)
	}
	return true
}

// advance compares the next events with those that the model has.
func (w *walk) advance(f *follower) (ok bool) {
	events, upTo, err := f.watcher.Next(w.Context())
	if f.seen < w.m.compacted {
		wantErr(w, "Next of a watch that was overtaken", err, ErrCompacted)
		return false
	}
	if err != nil {
		w.Fatalf("Next: %v", err)
	}
	for i := range events {
		events[i] = eventInFull(events[i])
	}
	if diff := diff(w.m.eventsOf(f.prefix, f.seen, upTo), events); diff != "" {
		w.Fatalf("events in (%d, %d] (-want +got):\n%s", f.seen, upTo, diff)
	}
	f.seen = upTo
	return true
}

// follow moves one of the watches on, and begins another if there are few.
func (w *walk) follow() {
	const most = 5
	if len(w.followers) < most {
		f := &follower{prefix: w.tenKeys(), seen: w.m.rev}
		if w.start(f) {
			w.followers = append(w.followers, f)
		}
		return
	}
	i := w.rnd.IntN(most)
	if f := w.followers[i]; f.seen < w.m.rev && !w.advance(f) {
		w.followers = append(w.followers[:i], w.followers[i+1:]...)
	}
}

// resume lets all watches go on where they were before a restart.
func (w *walk) resume() {
	var left []*follower
	for _, f := range w.followers {
		_, _, err := f.watcher.Next(w.Context())
		if f.seen == w.m.rev && !errors.Is(err, ErrClosed) {
			w.Errorf("Next of a closed database: %v", err)
		}
		if w.start(f) {
			left = append(left, f)
		}
	}
	w.followers = left
}
