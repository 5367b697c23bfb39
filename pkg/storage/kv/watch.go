package kv

import (
	"context"
	"fmt"
	"strings"

	"arl.io/arl/pkg/storage/internal/mutation"
)

const (
	// maxEvents is how many events Next returns at most, so that a watcher
	// that is far behind need not hold them all.
	maxEvents = 1024
	// firstEvents is how many events there is room for at first: those of a commit.
	firstEvents = 32
	// maxScan is how many entries Next looks at before it reports how far it has come.
	maxScan = 64 << 10
)

// Watcher is a cursor over the log in memory. It has no buffer and no
// goroutine, costs nothing between calls, and never slows a writer; it needs
// no closing. It is for use by one goroutine.
type Watcher struct {
	db *DB
	// prefix is what keys begin with, or the one key if single is set.
	prefix string
	single bool
	// seen is the revision up to which everything has been returned.
	seen int64
}

// Watch returns a cursor on the writes to keys that begin with prefix, after
// revision after. If after is below the compacted revision, returns
// ErrCompacted. It may be above the newest: the watcher then waits for what follows it.
func (db *DB) Watch(prefix string, after int64) (*Watcher, error) {
	return (&Watcher{db: db, prefix: prefix, seen: after}).begin()
}

// WatchKey is Watch for one key. Writes to others do not even wake it.
func (db *DB) WatchKey(key string, after int64) (*Watcher, error) {
	return (&Watcher{db: db, prefix: key, single: true, seen: after}).begin()
}

func (w *Watcher) begin() (*Watcher, error) {
	if err := w.check(w.db.root.Load()); err != nil {
		return nil, err
	}
	return w, nil
}

// Next waits until there is an event and returns the events, in the order of
// their revisions, and the revision up to which the watcher has now seen
// everything, which is right also beside an error. Events may be none if the
// watcher was behind and only the revision moved on. If compaction has overtaken
// the watcher, which does not happen while it waits here, returns ErrCompacted:
// there is never a hole. When the database stops, what was published is
// returned before the error.
func (w *Watcher) Next(ctx context.Context) (events []Event, upTo int64, err error) {
	w.db.watchers.Add(1)
	defer w.db.watchers.Add(-1)
	for {
		if err := ctx.Err(); err != nil {
			return nil, w.seen, err
		}
		r := w.db.root.Load()
		if mutation.Active == mutation.SkipCompacted {
			w.seen = max(w.seen, r.compacted)
		}
		if err := w.check(r); err != nil {
			return nil, w.seen, err
		}
		if w.seen < r.rev {
			events = w.advance(r)
			return events, w.seen, nil
		}
		if err := w.db.interests.wait(ctx, w, r); err != nil {
			return nil, w.seen, err
		}
	}
}

func (w *Watcher) check(r *root) error {
	if w.seen < r.compacted {
		return fmt.Errorf("%w: events after revision %d are gone, those after %d are left", ErrCompacted, w.seen, r.compacted)
	}
	return nil
}

func (w *Watcher) wants(key string) bool {
	if w.single {
		return key == w.prefix
	}
	return strings.HasPrefix(key, w.prefix)
}

// advance moves over the log of r, which has not been compacted beyond w.seen.
func (w *Watcher) advance(r *root) []Event {
	last := min(r.rev, w.seen+maxScan)
	var events []Event
	for w.seen < last && len(events) < maxEvents {
		w.seen++
		if rec := r.log.at(w.seen); rec.op() != opMark && w.wants(rec.key()) {
			if events == nil {
				events = make([]Event, 0, min(last-w.seen+1, firstEvents))
			}
			events = append(events, rec.event(w.seen))
		}
	}
	return events
}
