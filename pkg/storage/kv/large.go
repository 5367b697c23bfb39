package kv

import (
	"context"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"arl.io/arl/pkg/storage/internal/mutation"
)

// large refers to a value that is in the files only. The write of revision rev
// put it there, and a revision names one write for ever, so what is found at
// that revision is the value, in whichever file:
//
//	written               in log.db, under its revision
//	folded by Compact     in log.db and in state.db, under its key with its revision
//	trimmed by the writer in state.db
//	overwritten, and that folded: no longer in state.db
//	then trimmed:         nowhere
//
// A value leaves log.db only after the fold that takes it over has been
// committed to state.db. So a reader that looks in log.db first and in state.db
// after it misses nothing, whatever is folded and trimmed meanwhile. A value that
// a fold has overwritten is gone from the moment of its commit, a little before
// the compaction is published: the reader waits for that, since an answer must
// not come from a state that nobody can see yet.
type large struct {
	from *files
	key  string
	rev  int64
	size int
}

// entry returns what the write of a value makes of a key, except for the
// revisions. The entry takes over the value, unless it is large.
func (f *files) entry(key string, value []byte, rev int64) *Entry {
	if len(value) > f.largeAbove {
		return &Entry{Key: key, large: &large{from: f, key: key, rev: rev, size: len(value)}}
	}
	if value == nil {
		value = []byte{} // as it is after a restart
	}
	return &Entry{Key: key, Value: value}
}

// read is entry for a value in a mapped file, which is copied if it is kept.
func (f *files) read(key string, value []byte, rev int64) *Entry {
	if len(value) > f.largeAbove {
		return f.entry(key, value, rev)
	}
	return f.entry(key, append([]byte{}, value...), rev)
}

// load reads the value from the files. The result is the caller's.
func (l *large) load() ([]byte, error) {
	var compacted int64
	value, found, err := l.from.logged(l.key, l.rev)
	if err == nil && !found {
		value, found, compacted, err = l.from.folded(l.key, l.rev)
	}
	if err == nil && !found && l.from.awaitCompacted != nil {
		err = l.from.awaitCompacted(compacted)
	}
	switch {
	case errors.Is(err, bolterrors.ErrDatabaseNotOpen):
		return nil, fmt.Errorf("value of key %q: %w", l.key, ErrClosed)
	case err != nil:
		return nil, fmt.Errorf("value of key %q at revision %d: %w", l.key, l.rev, err)
	case !found:
		return nil, fmt.Errorf("%w: the value that key %q had at revision %d is gone", ErrCompacted, l.key, l.rev)
	}
	return value, nil
}

// logged returns a copy of the value that the write of revision rev put under
// key, if it is in log.db.
func (f *files) logged(key string, rev int64) (value []byte, found bool, err error) {
	err = view(f.log, func(tx *bolt.Tx) error {
		record := tx.Bucket(logBucket).Get(revKey(rev))
		if record == nil {
			return nil
		}
		r, err := decodeLogRecord(rev, record)
		if err != nil {
			return err
		}
		if r.op != opPut || string(r.key) != key {
			return fmt.Errorf("%w: the log has another write at this revision", ErrCorrupt)
		}
		value, found = append([]byte{}, r.value...), true
		return nil
	})
	return value, found, err
}

// folded returns a copy of the value of key in state.db, if that is the one of
// revision rev, and the revision up to which state.db was compacted then.
func (f *files) folded(key string, rev int64) (value []byte, found bool, compacted int64, err error) {
	err = view(f.state, func(tx *bolt.Tx) error {
		h, err := decodeHeader(tx.Bucket(metaBucket).Get(headerKey), stateFile)
		if err != nil {
			return err
		}
		compacted = h.compacted
		record := tx.Bucket(stateBucket).Get([]byte(key))
		if record == nil {
			return nil
		}
		r, err := decodeStateRecord([]byte(key), record)
		if err != nil {
			return err
		}
		if r.modRev != rev && mutation.Active != mutation.AnyVersion {
			return nil // written again since
		}
		value, found = append([]byte{}, r.value...), true
		return nil
	})
	return value, found, compacted, err
}

// awaitCompacted returns once it is published that state.db is compacted up to
// a revision which it is: at the end of a fold, unless the database stops.
func (db *DB) awaitCompacted(rev int64) error {
	for {
		r := db.root.Load()
		if r.compacted >= rev {
			return nil
		}
		if err := db.waitPublish(context.Background(), r); err != nil {
			return err
		}
	}
}

// view reads from a file in a transaction of its own. It must be short: while
// one is open, a writer that has to map the file anew waits for it. That
// happens when the file outgrows its map, each time by at least as much as it
// had.
func view(b *bolt.DB, fn func(*bolt.Tx) error) error {
	return guard(b.Path(), func() error { return b.View(fn) })
}

// hold keeps a revision from being compacted by age, for the time of a backup.
// See Stats.BackupRevision.
func (db *DB) hold() (s Snapshot, release func()) {
	db.mu.Lock()
	defer db.mu.Unlock()
	s = db.Snapshot()
	db.held[s.rev]++
	return s, func() {
		db.mu.Lock()
		defer db.mu.Unlock()
		if db.held[s.rev]--; db.held[s.rev] == 0 {
			delete(db.held, s.rev)
		}
	}
}

// oldestHeld returns the oldest revision that is held; 0: none.
func (db *DB) oldestHeld() (oldest int64) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for rev := range db.held {
		if oldest == 0 || rev < oldest {
			oldest = rev
		}
	}
	return oldest
}
