package kv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

const (
	// rewriteFill leaves a page of a new state.db some room for values that grow.
	rewriteFill = 0.9
	// rewriteBatch is how many bytes of values one transaction takes.
	rewriteBatch = 8 << 20
)

// rewriter writes a new database, of which nothing is history: all keys are in
// the state, and the log is empty. It works under the final names plus a suffix.
type rewriter struct {
	log, state string
	id         [16]byte
	// revision is both the newest and the compacted one.
	revision int64

	b     *bolt.DB
	tx    *bolt.Tx
	bytes int
}

func newRewriter(dir, suffix string, id [16]byte, revision int64) *rewriter {
	return &rewriter{
		log: filepath.Join(dir, logName+suffix), state: filepath.Join(dir, stateName+suffix),
		id: id, revision: revision,
	}
}

// write makes both files of the entries that each yields in the order of their
// keys, has them synced, and reads them back. owner says whose they shall be.
func (w *rewriter) write(owner fs.FileInfo, each func(add func(*Entry) error) error) (err error) {
	defer func() {
		if isFull(err) {
			err = fmt.Errorf("%w: %w", ErrNoSpace, err)
		}
	}()
	if err := w.writeState(each); err != nil {
		return err
	}
	b, err := newFile(w.log, header{kind: logFile, id: w.id})
	if err != nil {
		return err
	}
	if err := b.Close(); err != nil {
		return err
	}
	for _, path := range []string{w.log, w.state} {
		if err := errors.Join(trimEnd(path), giveTo(path, owner)); err != nil {
			return err
		}
	}
	return nil
}

// trimEnd cuts off what bbolt has made a file larger than it needs, and syncs it.
func trimEnd(path string) error {
	c := &pageCheck{}
	if err := c.check(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(int64(c.meta.pages*c.meta.pageSize)), f.Sync(), f.Close())
}

func (w *rewriter) writeState(each func(add func(*Entry) error) error) (err error) {
	if w.b, err = newFile(w.state, header{kind: stateFile, id: w.id, compacted: w.revision}); err != nil {
		return err
	}
	w.b.NoSync = true // the file is of no use before it is whole: trimEnd syncs it
	err = each(w.add)
	if err == nil {
		err = w.flush()
	}
	if w.tx != nil {
		err = errors.Join(err, w.tx.Rollback())
		w.tx = nil
	}
	return errors.Join(err, w.b.Close())
}

func (w *rewriter) add(e *Entry) (err error) {
	if w.tx == nil {
		if w.tx, err = w.b.Begin(true); err != nil {
			return fmt.Errorf("%s: %w", w.state, err)
		}
	}
	b := w.tx.Bucket(stateBucket)
	b.FillPercent = rewriteFill
	value, err := e.Load()
	if err != nil {
		return err
	}
	record := encodeStateRecord(e, value)
	if err := b.Put([]byte(e.Key), record); err != nil {
		return fmt.Errorf("%s: key %q: %w", w.state, e.Key, err)
	}
	if w.bytes += len(e.Key) + len(record); w.bytes < rewriteBatch {
		return nil
	}
	return w.flush()
}

func (w *rewriter) flush() error {
	if w.tx == nil {
		return nil
	}
	tx := w.tx
	w.tx, w.bytes = nil, 0
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%s: %w", w.state, err)
	}
	return nil
}

// check reads the files back and sees that they are what was to be written.
// compare may look closer.
func (w *rewriter) check(ctx context.Context, keys int64, compare func(written root) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	r, f, err := readFiles(w.log, w.state)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	defer func() { err = errors.Join(err, f.close()) }()
	if f.id != w.id || r.rev != w.revision || r.compacted != w.revision || int64(r.tree.len()) != keys {
		return fmt.Errorf("read back: %w: %s has %d keys at revision %d, should have %d at %d",
			ErrCorrupt, w.state, r.tree.len(), r.rev, keys, w.revision)
	}
	if err := compare(r); err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	return nil
}

// removeFiles removes files that may be there.
func removeFiles(paths ...string) error {
	var errs []error
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
