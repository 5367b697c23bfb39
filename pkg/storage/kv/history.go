package kv

import (
	"context"
	"fmt"
	"slices"
)

const (
	// historyCached is how many old revisions are kept ready: about one for
	// each paginated list under way.
	historyCached = 8
	// undoCheck is how many writes are taken back between two looks at ctx.
	undoCheck = 1024
)

// history derives snapshots of old revisions by taking writes back, and keeps
// the last few: the pages of a list ask for the same revision again and again.
type history struct {
	// turn is held, by a value in the channel, to use what follows and to
	// clone published trees.
	turn chan struct{}
	// cached is ordered by use, newest last.
	cached []Snapshot
}

func newHistory() *history { return &history{turn: make(chan struct{}, 1)} }

// SnapshotAt returns the state at revision rev. If rev is below the compacted
// revision, returns ErrCompacted; above the newest, ErrFutureRevision. The
// time it takes grows with the writes since, unless rev was asked for lately.
func (db *DB) SnapshotAt(ctx context.Context, rev int64) (Snapshot, error) {
	if r := db.root.Load(); rev >= r.rev {
		return newest(r, rev)
	}
	select {
	case db.history.turn <- struct{}{}:
		defer func() { <-db.history.turn }()
	case <-ctx.Done():
		return Snapshot{}, ctx.Err()
	}
	r := db.root.Load()
	if rev < r.compacted {
		return Snapshot{}, fmt.Errorf("%w: revision %d is below %d", ErrCompacted, rev, r.compacted)
	}
	return db.history.derive(ctx, r, rev)
}

func newest(r *root, rev int64) (Snapshot, error) {
	if rev > r.rev {
		return Snapshot{}, fmt.Errorf("%w: revision %d is above %d", ErrFutureRevision, rev, r.rev)
	}
	return r.snapshot(), nil
}

// derive goes back from the nearest newer revision at hand. The caller holds the turn.
func (h *history) derive(ctx context.Context, r *root, rev int64) (Snapshot, error) {
	base := r.snapshot()
	for i, s := range h.cached {
		if s.rev == rev {
			h.cached = append(slices.Delete(h.cached, i, i+1), s)
			return s, nil
		}
		if s.rev > rev && s.rev < base.rev {
			base = s
		}
	}
	out := Snapshot{tree: base.tree.clone(), rev: rev, compacted: r.compacted}
	for undo := base.rev; undo > rev; undo-- {
		if undo%undoCheck == 0 && ctx.Err() != nil {
			return Snapshot{}, ctx.Err()
		}
		r.log.at(undo).undo(out.tree)
	}
	if len(h.cached) == historyCached {
		h.cached = slices.Delete(h.cached, 0, 1)
	}
	h.cached = append(h.cached, out)
	return out, nil
}

// forget drops what lies below the compacted revision.
func (h *history) forget(compacted int64) {
	h.turn <- struct{}{}
	h.cached = slices.DeleteFunc(h.cached, func(s Snapshot) bool { return s.rev < compacted })
	<-h.turn
}
