package kv

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"

	"arl.io/arl/pkg/storage/internal/mutation"
)

// Bounds of one transaction of state.db, in net changes and their bytes.
const (
	maxFoldKeys  = 4096
	maxFoldBytes = 4 << 20
)

// Compact makes revisions below rev unavailable and frees the memory they
// held; the space in log.db follows in the course of later commits. It is idempotent: nil at
// once if rev is compacted already. If rev is above the newest revision,
// returns ErrFutureRevision. It works in steps, each complete in itself, so
// after an error, be it ctx's or ErrNoSpace, a later call goes on where this one ended.
func (db *DB) Compact(ctx context.Context, rev int64) error {
	select {
	case db.compacting <- struct{}{}:
		defer func() { <-db.compacting }()
	case <-ctx.Done():
		return ctx.Err()
	case <-db.stopped:
		return db.stopError()
	}
	if r := db.root.Load(); rev > r.rev {
		return fmt.Errorf("%w: revision %d is above %d", ErrFutureRevision, rev, r.rev)
	}
	for {
		r := db.root.Load()
		if rev <= r.compacted {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		err := db.foldSlice(netChanges(r, rev, foldLimit{maxFoldKeys, maxFoldBytes}))
		if errors.Is(err, ErrNoSpace) {
			// Later deletes may undo what there is no room for.
			err = db.foldSlice(netChanges(r, rev, foldLimit{math.MaxInt, math.MaxInt64}))
		}
		if err != nil {
			return err
		}
	}
}

// slice is the net effect of the log from the compacted revision to to.
type slice struct {
	to      int64
	changes map[string]change
	// bytes is the size of the values.
	bytes int64
}

// change is what a slice does to one key.
type change struct {
	// cur is what the key is in the end; nil: it is gone.
	cur *Entry
	// existed says that the key is in state.db before.
	existed bool
}

func (c change) bytes() int64 {
	if c.cur == nil {
		return 0
	}
	return int64(c.cur.Size())
}

// foldLimit is where a slice ends.
type foldLimit struct {
	keys  int
	bytes int64
}

// netChanges collects the writes after r.compacted, at most up to rev, until
// they reach the limit. Keys that came and went within the slice leave no
// trace, so a slice of short-lived objects gets long.
func netChanges(r *root, rev int64, limit foldLimit) slice {
	s := slice{to: r.compacted, changes: map[string]change{}}
	for s.to < rev && len(s.changes) < limit.keys && s.bytes < limit.bytes {
		s.to++
		rec := r.log.at(s.to)
		if rec.op() == opMark {
			continue
		}
		c, touched := s.changes[rec.key()]
		if !touched {
			c.existed = rec.prev != nil
		}
		s.bytes -= c.bytes()
		c.cur = rec.cur
		s.bytes += c.bytes()
		if c.cur == nil && !c.existed {
			delete(s.changes, rec.key())
		} else {
			s.changes[rec.key()] = c
		}
	}
	return s
}

// foldSlice brings state.db to s.to and has the history up to there dropped.
func (db *DB) foldSlice(s slice) error {
	if err := db.files.roomToFold(db.opts, s.diskSize()); err != nil {
		return db.failUnsynced(err)
	}
	tx, err := db.files.state.Begin(true)
	if err != nil {
		return fmt.Errorf("%s: %w", stateName, err)
	}
	if err := s.store(tx, db.files.id); err != nil {
		// A value that cannot be read can never be folded, and the log would grow for ever.
		db.fail(fmt.Errorf("%s: %w", stateName, errors.Join(err, tx.Rollback())))
		return db.Err()
	}
	if mutation.Active == mutation.TrimBeforeFold {
		if err := db.announce(s.to); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	if err := db.commit(tx); err != nil {
		db.fail(fmt.Errorf("%s: commit: %w", stateName, err))
		return db.Err()
	}
	return db.announce(s.to)
}

// announce has the writer drop the history that state.db has taken over.
func (db *DB) announce(compacted int64) error {
	f := fold{compacted: compacted, done: make(chan struct{})}
	select {
	case db.folds <- f:
	case <-db.stopped:
		return db.stopError() // state.db is ahead; the next Open takes it from there
	}
	<-f.done
	db.history.forget(compacted)
	return nil
}

// roomToFold sees that state.db can take so many bytes of changes, and if
// possible a whole slice after that.
func (f *files) roomToFold(o Options, bytes int64) error {
	used, err := usedBytes(f.state)
	if err != nil {
		return fmt.Errorf("%s: %w", stateName, err)
	}
	err = f.stateReserve.ensure(used + o.growth(bytes) + o.growth(maxFoldBytes))
	if errors.Is(err, ErrNoSpace) {
		err = f.stateReserve.ensure(used + o.growth(bytes))
	}
	return err
}

func (s slice) diskSize() int64 {
	n := s.bytes
	for key, c := range s.changes {
		n += int64(recordHead + recordCRC + len(key) + 32)
		if c.cur != nil {
			n += int64(tagSize * len(c.cur.Tags))
		}
	}
	return n
}

// storeKey writes what a key is in the end. A large value comes from log.db,
// where it is until the slice has been folded; its checksum is looked at on the way.
func (s slice) storeKey(b *bolt.Bucket, key string) error {
	cur := s.changes[key].cur
	if cur == nil {
		return b.Delete([]byte(key))
	}
	value, err := cur.Load()
	if err != nil {
		return err
	}
	return b.Put([]byte(key), encodeStateRecord(cur, value))
}

// store writes the changes and the compacted revision they lead to.
func (s slice) store(tx *bolt.Tx, id [16]byte) error {
	keys := make([]string, 0, len(s.changes))
	for key := range s.changes {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, strings.Compare) // neighbours share pages
	b := tx.Bucket(stateBucket)
	for _, key := range keys {
		if err := s.storeKey(b, key); err != nil {
			return fmt.Errorf("fold key %q: %w", key, err)
		}
	}
	h := header{kind: stateFile, id: id, compacted: s.to}
	return tx.Bucket(metaBucket).Put(headerKey, h.encode())
}
