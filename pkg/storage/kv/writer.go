package kv

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	bolt "go.etcd.io/bbolt"

	"arl.io/arl/pkg/storage/internal/mutation"
)

// Bounds of one commit.
const (
	// maxBatchBytes bounds how long large values hold up small ones.
	maxBatchBytes = 8 << 20
	// trimIdle and trimBusy are how many compacted entries a commit removes:
	// trimIdle when there is nothing else to do, at least trimBusy beside writes.
	trimIdle = 512
	trimBusy = 64
	// keptArena is enough for a full batch of small values.
	keptArena = 2 << 20
)

// request is a write on its way. The writer sets entry and err, then closes done.
type request struct {
	op Op
	// queued is when Apply was called.
	queued time.Time
	entry  Entry
	err    error
	done   chan struct{}
}

// write is a write that has been decided, with the value that it puts.
type write struct {
	record
	value []byte
}

// fold tells the writer that state.db is at revision compacted; it closes
// done once that is published.
type fold struct {
	compacted int64
	done      chan struct{}
}

// writer is the goroutine that owns log.db. Its fields are its own.
type writer struct {
	db *DB
	// next is the state after the last commit, not shared: its tree is cloned to be published.
	next root
	// trimmed is the newest revision removed from log.db.
	trimmed int64
	// noRoomToTrim says that trimming waits for the next write.
	noRoomToTrim bool
	// lowSpace says that the last commit that asked was below the watermark.
	lowSpace bool
	// lowSince is when that began.
	lowSince time.Time
	// arena holds the encoded records of one commit, and is used again unless
	// it has become larger than keptArena.
	arena []byte
	// waits holds the QueueWaits of one batch.
	waits []time.Duration
}

// run serves until the database is closed or fails.
func (w *writer) run() {
	defer close(w.db.stopped)
	for w.db.Err() == nil {
		var idle <-chan struct{}
		if w.trimmed < w.next.compacted && !w.noRoomToTrim {
			idle = closedChan
		}
		select {
		case <-w.db.closing:
			return
		case r := <-w.db.requests:
			w.serve(w.gather(r))
			continue
		case f := <-w.db.folds:
			w.fold(f)
			continue
		default:
		}
		select {
		case <-w.db.closing:
			return
		case <-w.db.failed:
		case r := <-w.db.requests:
			w.serve(w.gather(r))
		case f := <-w.db.folds:
			w.fold(f)
		case <-idle:
			w.trimOnly()
		}
	}
}

var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// gather takes what else is waiting into the commit of first. It does not
// wait for more: a batch forms while the last one syncs. The yield lets
// those who were answered a moment ago come back with their next write.
func (w *writer) gather(first *request) []*request {
	runtime.Gosched()
	batch := []*request{first}
	for size := len(first.op.Value); len(batch) < w.db.opts.MaxBatch && size < maxBatchBytes; {
		select {
		case r := <-w.db.requests:
			batch = append(batch, r)
			size += len(r.op.Value)
		default:
			return batch
		}
	}
	return batch
}

// serve decides, writes, publishes and answers a batch, in this order: nobody
// is told of a state, not even by a refusal, that is not on disk.
func (w *writer) serve(batch []*request) {
	w.noRoomToTrim = false
	stats := CommitStats{QueueWaits: w.queueWaits(batch)}
	noPuts, noDeletes := w.checkSpace(batch)
	first := w.next.rev + 1
	var writes []write
	for _, r := range batch {
		refusal := noPuts
		if r.op.Delete {
			refusal = noDeletes
		}
		if refusal != nil {
			r.err = refusal
			stats.NoSpace++
			continue
		}
		if rec, ok := w.decide(r); ok {
			writes = append(writes, write{rec, r.op.Value})
		} else {
			stats.Conflicts++
		}
	}
	if mutation.Active == mutation.AckBeforeCommit {
		defer func(writes []write) { _ = w.write(stats, writes) }(writes)
		writes = nil
	}
	if len(writes) == 0 {
		stats.Revision = w.next.rev
		w.db.opts.OnCommit(stats)
	} else if err := w.write(stats, writes); err != nil {
		err = fmt.Errorf("%w (revisions %d to %d may or may not be found)", err, first, w.next.rev)
		for _, r := range batch {
			r.entry, r.err = Entry{}, err
		}
	}
	for _, r := range batch {
		close(r.done)
	}
}

// queueWaits returns how long each write of a batch has waited until now.
func (w *writer) queueWaits(batch []*request) []time.Duration {
	now := w.db.opts.Now()
	w.waits = w.waits[:0]
	for _, r := range batch {
		w.waits = append(w.waits, now.Sub(r.queued))
	}
	return w.waits
}

// decide checks the precondition against the state that the writes before it
// lead to, and applies the write to w.next.
func (w *writer) decide(r *request) (rec record, ok bool) {
	prev, exists := w.next.tree.get(r.op.Key)
	if !r.op.holds(prev, exists) {
		conflict := &ConflictError{Key: r.op.Key, Exists: exists}
		if exists {
			conflict.Current = *prev
		}
		r.err = conflict
		return record{}, false
	}
	w.next.rev++
	rec = record{prev: prev}
	if r.op.Delete {
		r.entry = *prev
		r.entry.ModRev = w.next.rev
	} else {
		key, createRev := r.op.Key, w.next.rev
		if exists {
			key, createRev = prev.Key, prev.CreateRev
		}
		cur := w.db.files.entry(key, r.op.Value, w.next.rev)
		cur.CreateRev, cur.ModRev, cur.Expiry, cur.Tags = createRev, w.next.rev, r.op.Expiry, r.op.Tags
		rec.cur, r.entry = cur, *cur
	}
	rec.apply(w.next.tree)
	w.next.log.append(w.next.rev, rec)
	w.next.logMemory += rec.memory()
	w.next.logDisk += rec.diskSize()
	return rec, true
}

// holds reports whether prev, which the key of the write holds if it exists, is what the write expects.
func (op Op) holds(prev *Entry, exists bool) bool {
	if mutation.Active == mutation.SkipPrecondition {
		return exists || !op.Delete
	}
	if !exists {
		return op.Expect == 0 && !op.Delete
	}
	return op.Expect == prev.ModRev
}

// write commits the writes that lead to w.next, removes some of the
// compacted ones, and publishes. The stats are what the batch led to so far. If
// it fails, so has the database.
func (w *writer) write(stats CommitStats, writes []write) error {
	start := w.db.opts.Now()
	tx, err := w.db.files.log.Begin(true)
	if err != nil {
		return w.failed(fmt.Errorf("begin: %w", err))
	}
	stats.Revision, stats.Writes = w.next.rev, len(writes)
	stats.Bytes, err = w.put(tx, writes)
	if err == nil {
		stats.Trimmed, err = w.trim(tx, len(writes))
	}
	if err != nil {
		return w.failed(errors.Join(err, tx.Rollback()))
	}
	if mutation.Active == mutation.PublishBeforeSync {
		w.publish()
	}
	if err := w.db.commit(tx); err != nil {
		return w.failed(fmt.Errorf("commit: %w", err))
	}
	stats.Duration = w.db.opts.Now().Sub(start)
	w.trimmed += int64(stats.Trimmed)
	if len(writes) > 0 {
		w.publish()
	}
	if cap(w.arena) > keptArena {
		w.arena = nil
	}
	txStats := tx.Stats()
	stats.WriteTime = txStats.GetWriteTime()
	w.db.opts.OnCommit(stats)
	return nil
}

// trimOnly removes compacted entries while nobody waits for a write. An error
// is the database's failure, which everybody will hear of.
func (w *writer) trimOnly() {
	if w.noRoomToTrim = !w.roomToTrim(); !w.noRoomToTrim {
		_ = w.write(CommitStats{}, nil)
	}
}

func (w *writer) failed(cause error) error {
	w.db.fail(fmt.Errorf("%s: %w", logName, cause))
	return w.db.Err()
}

// put adds the writes, which end at w.next.rev, to the log.
func (w *writer) put(tx *bolt.Tx, writes []write) (size int64, err error) {
	b := tx.Bucket(logBucket)
	b.FillPercent = 1 // keys only ever grow
	need := 0
	for _, r := range writes {
		need += int(r.diskSize())
	}
	if cap(w.arena) < need {
		w.arena = make([]byte, 0, need)
	}
	buf := w.arena[:0]
	rev := w.next.rev - int64(len(writes))
	for _, r := range writes {
		rev++
		start := len(buf)
		buf = appendLogRecord(buf, rev, r.record, r.value)
		if err := b.Put(revKey(rev), buf[start:len(buf):len(buf)]); err != nil {
			return 0, fmt.Errorf("put revision %d: %w", rev, err)
		}
	}
	return int64(len(buf)), nil
}

// trim removes a bounded number of compacted entries from the log.
func (w *writer) trim(tx *bolt.Tx, writes int) (n int, err error) {
	limit := trimIdle
	if writes > 0 {
		limit = max(trimBusy, 2*writes) // faster than the log grows
	}
	n = int(min(w.next.compacted-w.trimmed, int64(limit)))
	b := tx.Bucket(logBucket)
	for i := range n {
		if err := b.Delete(revKey(w.trimmed + 1 + int64(i))); err != nil {
			return 0, fmt.Errorf("trim revision %d: %w", w.trimmed+1+int64(i), err)
		}
	}
	return n, nil
}

// fold drops from memory the history that state.db has taken over.
func (w *writer) fold(f fold) {
	for rev := w.next.compacted + 1; rev <= f.compacted; rev++ {
		r := w.next.log.at(rev)
		w.next.logMemory -= r.memory()
		w.next.logDisk -= r.diskSize()
	}
	w.next.log = w.next.log.after(f.compacted)
	w.next.compacted = f.compacted
	w.publish()
	close(f.done)
}

// publish makes w.next visible and wakes who waits for it.
func (w *writer) publish() {
	r := w.next
	r.tree = w.next.tree.clone()
	r.next = make(chan struct{})
	w.db.interests.publish(&w.db.root, &r)
}
