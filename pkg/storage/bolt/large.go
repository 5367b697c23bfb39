package bolt

import (
	"context"
	"errors"
	"time"

	"arl.io/arl/pkg/storage/kv"
)

// Bounds of what large objects may take. Their values are not in memory, so
// what counts is how many are read at the same time.
const (
	// maxPageBytes ends a page of a list early: 500 objects of 1.5 MiB each would
	// take several times 750 MiB until they are encoded. A client that asks for
	// pages goes on from the continue token, however many items a page has.
	maxPageBytes = 16 << 20
	// drainMin and drainMax are how often a watch looks whether its client has
	// taken all events, before it reads a large object for the next one.
	drainMin = time.Millisecond
	drainMax = 250 * time.Millisecond
	// listAttempts is how often a list begins anew because compaction has
	// overtaken it. That takes a compaction up to now within the time of a list.
	listAttempts = 5
)

// load returns the value of an entry that was the newest a moment ago, with the
// entry it is of. If the key has been written again and that has been compacted
// meanwhile, it is the next one, and found says whether there is one.
func (s *Store) load(ctx context.Context, entry kv.Entry) (current kv.Entry, raw []byte, found bool, err error) {
	for {
		raw, err = entry.Load()
		if !errors.Is(err, kv.ErrCompacted) || ctx.Err() != nil {
			return entry, raw, true, err
		}
		// Each turn has a newer entry, so it takes a writer and a compaction to
		// keep this going.
		if entry, found = s.db.Snapshot().Get(entry.Key); !found {
			return kv.Entry{}, nil, false, nil
		}
	}
}

// drained waits until the client has taken all events that were sent, so that
// no more than one large object waits for it. It returns whether the watch goes on.
func (w *watcher) drained(ctx context.Context) bool {
	for wait := drainMin; len(w.result) > 0; wait = min(2*wait, drainMax) {
		timer := w.store.clock.NewTimer(wait)
		select {
		case <-timer.C():
		case <-ctx.Done():
			timer.Stop()
			return false
		}
	}
	return true
}
