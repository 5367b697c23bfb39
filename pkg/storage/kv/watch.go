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
	db     *DB
	prefix string
	// seen is the revision up to which everything has been returned.
	seen int64
}

// Watch returns a cursor on the writes to keys that begin with prefix, after
// revision after. If after is below the compacted revision, returns
// ErrCompacted. It may be above the newest: the watcher then waits for what follows it.
func (db *DB) Watch(prefix string, after int64) (*Watcher, error) {
	w := &Watcher{db: db, prefix: prefix, seen: after}
	if err := w.check(db.root.Load()); err != nil {
		return nil, err
	}
	return w, nil
}

// Next waits until there is more to know and returns the events, in the order
// of their revisions, and the revision up to which the watcher has now seen
// everything. Events may be none if only the revision moved on. If
// compaction has overtaken the watcher, returns ErrCompacted: there is never
// a hole. When the database stops, what was published is returned before the error.
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
		if err := w.db.waitPublish(ctx, r); err != nil {
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

// advance moves over the log of r, which has not been compacted beyond w.seen.
func (w *Watcher) advance(r *root) []Event {
	last := min(r.rev, w.seen+maxScan)
	events := make([]Event, 0, min(last-w.seen, firstEvents))
	for w.seen < last && len(events) < maxEvents {
		w.seen++
		if rec := r.log.at(w.seen); rec.op() != opMark && strings.HasPrefix(rec.key(), w.prefix) {
			events = append(events, rec.event(w.seen))
		}
	}
	return events
}
