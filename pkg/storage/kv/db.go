package kv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"
)

// maxKeyBytes keeps keys far below what a page holds.
const maxKeyBytes = 4096

// DB is an open database, safe for concurrent use.
type DB struct {
	dir   string
	opts  Options
	files *files

	// root is the newest published state. The writer alone replaces it.
	root atomic.Pointer[root]

	// requests and folds have no buffer: what the writer has not received it
	// does not owe an answer.
	requests chan *request
	folds    chan fold
	// closing asks the writer to end; stopped says that it has.
	closing, stopped chan struct{}
	closeOnce        sync.Once
	closeErr         error

	// compacting is the turn of Compact, held by a value in the channel.
	compacting chan struct{}
	history    *history
	interests  *interests
	watchers   atomic.Int64

	failed chan struct{}
	mu     sync.Mutex
	// err is why the database has failed, set before failed is closed.
	err error
	// held are the revisions that backups read, and by how many each.
	held map[int64]int

	// commit ends a transaction of either file; tests make it fail.
	commit func(*bolt.Tx) error
}

// Apply queues a write and waits until it is decided and durable. It returns
// the new entry for a put; for a delete the deleted entry, with ModRev set to
// the revision of the deletion.
//
// Once queued, the wait is not cut short by ctx, so the outcome is known; a ctx
// that ends before that is answered with its error. If the precondition does
// not hold, returns a *ConflictError with the state that refused it, which is
// durable too. Of the other errors only ErrFailed leaves the outcome open.
func (db *DB) Apply(ctx context.Context, op Op) (Entry, error) {
	if err := ctx.Err(); err != nil {
		return Entry{}, err
	}
	if len(op.Key) == 0 || len(op.Key) > maxKeyBytes {
		return Entry{}, fmt.Errorf("%w: key of %d bytes, allowed are 1 to %d", ErrTooLarge, len(op.Key), maxKeyBytes)
	}
	if !op.Delete && len(op.Value) > db.opts.MaxValueBytes {
		return Entry{}, fmt.Errorf("%w: value of %d bytes, allowed are %d", ErrTooLarge, len(op.Value), db.opts.MaxValueBytes)
	}
	if !op.Delete {
		if err := checkTags(op.Tags); err != nil {
			return Entry{}, err
		}
	}
	r := &request{op: op, queued: db.opts.Now(), done: make(chan struct{})}
	select {
	case db.requests <- r:
	case <-ctx.Done():
		return Entry{}, ctx.Err()
	case <-db.stopped:
		return Entry{}, db.stopError()
	}
	<-r.done
	return r.entry, r.err
}

// checkTags guards the index against what would leave keys in it for ever.
func checkTags(tags []uint64) error {
	if len(tags) > MaxTags {
		return fmt.Errorf("%w: %d tags, allowed are %d", ErrTooLarge, len(tags), MaxTags)
	}
	for i := 1; i < len(tags); i++ {
		if tags[i-1] >= tags[i] {
			return fmt.Errorf("tags of a write must be strictly ascending, they are %x", tags)
		}
	}
	return nil
}

// Snapshot returns the newest published state.
func (db *DB) Snapshot() Snapshot { return db.root.Load().snapshot() }

// WaitRevision returns once Snapshot().Revision() is rev or above, or with an
// error when ctx ends or the database stops.
func (db *DB) WaitRevision(ctx context.Context, rev int64) error {
	for {
		r := db.root.Load()
		if r.rev >= rev {
			return nil
		}
		if err := db.waitPublish(ctx, r); err != nil {
			return err
		}
	}
}

// waitPublish waits for a root newer than r.
func (db *DB) waitPublish(ctx context.Context, r *root) error {
	select {
	case <-r.next:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-db.stopped:
	}
	// The writer may have published just before it ended.
	select {
	case <-r.next:
		return nil
	default:
		return db.stopError()
	}
}

// Stats returns the state of the database now, after Close as it was at the end.
func (db *DB) Stats() Stats {
	s := db.root.Load().stats()
	s.BackupRevision = db.oldestHeld() // after the root: a backup that begins now is of that or a newer one
	s.LogFileBytes = fileSize(filepath.Join(db.dir, logName))
	s.StateFileBytes = fileSize(filepath.Join(db.dir, stateName))
	s.Watchers = int(db.watchers.Load())
	return s
}

// stats is what a root alone can tell.
func (r *root) stats() Stats {
	return Stats{
		Revision:          r.rev,
		CompactedRevision: r.compacted,
		Keys:              r.tree.len(),
		LogEntries:        r.rev - r.compacted,
		LogBytes:          r.logMemory,
		LogRecordBytes:    r.logDisk,
	}
}

// fileSize returns 0 for a file that cannot be looked at: it is for metrics.
func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// Failed is closed when a commit has failed. From then on Apply and Compact
// return ErrFailed; reads go on. The process should end: only Open can tell
// what is on disk.
func (db *DB) Failed() <-chan struct{} { return db.failed }

// Err returns why the database has failed; nil if it has not.
func (db *DB) Err() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.err
}

// fail stops the database for good. The first cause is kept.
func (db *DB) fail(cause error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.err == nil {
		db.err = fmt.Errorf("%w: %w", ErrFailed, cause)
		close(db.failed)
	}
}

// stopError says why the writer has ended.
func (db *DB) stopError() error {
	if err := db.Err(); err != nil {
		return err
	}
	return ErrClosed
}

// Close ends the database: writes under way are finished, waiting calls get
// ErrClosed, and the files are closed. Snapshots stay usable, except for large
// values. Later calls return what the first one did.
func (db *DB) Close() error {
	db.closeOnce.Do(func() {
		close(db.closing)
		<-db.stopped
		db.compacting <- struct{}{} // for good: no compaction after this
		db.closeErr = db.files.close()
	})
	return db.closeErr
}

// files are what a DB holds open.
type files struct {
	// largeAbove is the length above which a value is not kept in memory.
	largeAbove int
	// awaitCompacted is DB.awaitCompacted; nil if nobody compacts.
	awaitCompacted func(rev int64) error

	id                       [16]byte
	log, state               *bolt.DB
	logReserve, stateReserve *reserve
	lock                     *os.File
}

// close closes what is open, the lock last.
func (f *files) close() error {
	var errs []error
	for _, b := range []*bolt.DB{f.log, f.state} {
		if b != nil {
			errs = append(errs, b.Close())
		}
	}
	for _, r := range []*reserve{f.logReserve, f.stateReserve} {
		if r != nil {
			errs = append(errs, r.close())
		}
	}
	if f.lock != nil {
		errs = append(errs, f.lock.Close())
	}
	return errors.Join(errs...)
}
