package kv

import (
	"errors"
	"fmt"
	"math"
	"os"
	"syscall"

	bolt "go.etcd.io/bbolt"
)

const (
	// reserveStep is how much of a file is allocated at once.
	reserveStep = 16 << 20
	// graceReserve is allocated ahead, if there is space, for creates and updates during LowSpaceGrace.
	graceReserve = 16 << 20
	// deleteReserve is kept allocated for deletes when puts get no more.
	deleteReserve = 8 << 20
	// treeGrowth covers the pages of the tree that a commit writes anew.
	treeGrowth = 1 << 20
)

// growth is the most that a file grows by records of so many bytes. bbolt
// keeps two to a page at least, so almost half of each may stay empty, and it
// writes a page anew for the record that it adds to it.
func (o Options) growth(bytes int64) int64 {
	return 2*(bytes+int64(o.MaxValueBytes)) + treeGrowth
}

// usedBytes is up to where b uses its file.
func usedBytes(b *bolt.DB) (n int64, err error) {
	err = b.View(func(tx *bolt.Tx) error {
		n = tx.Size()
		return nil
	})
	return n, err
}

// reserve allocates blocks of a file before they are written, because a
// lack of space found within a commit cannot be told from a failure of the disk.
type reserve struct {
	file *os.File
	// end is up to where the file is known to have blocks: at first nowhere.
	end int64
	// allocate is fallocate(2), sync is fsync(2); tests make them fail.
	allocate func(f *os.File, off, n int64) error
	sync     func(f *os.File) error
}

// errUnsynced: the kernel could not write to the file, and will not say so
// again. It may have dropped what it was to write, so trying again proves nothing.
var errUnsynced = errors.New("sync failed")

func openReserve(path string) (*reserve, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &reserve{file: f, allocate: fallocate, sync: (*os.File).Sync}, nil
}

func (r *reserve) close() error { return r.file.Close() }

// ensure sees that the file has blocks up to end, and some more if there are
// any. If the file system is full, returns ErrNoSpace; after errUnsynced the
// file must not be relied on.
func (r *reserve) ensure(end int64) error {
	if end <= r.end {
		return nil
	}
	size := (end + reserveStep - 1) / reserveStep * reserveStep
	err := r.allocate(r.file, r.end, size-r.end)
	if isFull(err) && size > end {
		size = end
		err = r.allocate(r.file, r.end, size-r.end)
	}
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		// There is nothing to be done ahead on this file system.
		r.end = math.MaxInt64
		return nil
	}
	if err == nil {
		// The new size must be on disk before a page beyond the old one is relied on.
		if err = r.sync(r.file); err != nil {
			err = fmt.Errorf("%w: %w", errUnsynced, err)
		}
	}
	switch {
	case isFull(err):
		return fmt.Errorf("%w: %s cannot grow to %d bytes: %w", ErrNoSpace, r.file.Name(), size, err)
	case err != nil:
		return fmt.Errorf("grow %s: %w", r.file.Name(), err)
	}
	r.end = size
	return nil
}

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// checkSpace says whether there is room for the puts and for the deletes of a
// batch, before any of them is decided.
func (w *writer) checkSpace(batch []*request) (noPuts, noDeletes error) {
	var puts, deletes int64
	for _, r := range batch {
		size := int64(recordHead+recordCRC+revKeySize+tagSize*len(r.op.Tags)+len(r.op.Key)) + 32 // bbolt's own per element
		if r.op.Delete {
			deletes += size
		} else {
			puts += size + int64(len(r.op.Value))
		}
	}
	used, err := usedBytes(w.db.files.log)
	if err != nil {
		return err, err
	}
	if puts > 0 {
		noPuts = w.checkWatermark()
		if noPuts == nil {
			noPuts = w.allocate(used + w.db.opts.growth(puts+deletes) + deleteReserve)
		}
	}
	if deletes > 0 && (puts == 0 || noPuts != nil) {
		noDeletes = w.db.files.logReserve.ensure(used + w.db.opts.growth(deletes))
	}
	if err := w.db.failUnsynced(errors.Join(noPuts, noDeletes)); errors.Is(err, ErrFailed) {
		return err, err
	}
	return noPuts, noDeletes
}

// allocate sees that the log has blocks up to end. While the disk has space, it has some more, so that
// the next writes succeed even if somebody fills the disk for a moment.
func (w *writer) allocate(end int64) error {
	reserve := w.db.files.logReserve
	if w.db.opts.LowSpaceGrace > 0 && !w.lowSpace {
		if err := reserve.ensure(end + graceReserve); !errors.Is(err, ErrNoSpace) {
			return err
		}
	}
	return reserve.ensure(end)
}

// failUnsynced fails the database if err says that a file cannot be relied on
// any more, and returns the error to answer with.
func (db *DB) failUnsynced(err error) error {
	if errors.Is(err, errUnsynced) && !errors.Is(err, ErrNoSpace) {
		db.fail(err)
		return db.Err()
	}
	return err
}

// roomToTrim reports whether a commit that only trims has the room it needs.
// If not, the next commit with a delete in it has another try.
func (w *writer) roomToTrim() bool {
	used, err := usedBytes(w.db.files.log)
	return err == nil && w.db.failUnsynced(w.db.files.logReserve.ensure(used+w.db.opts.growth(0))) == nil
}

// checkWatermark returns ErrNoSpace while the file system is below the watermark.
func (w *writer) checkWatermark() error {
	if w.db.opts.MinFreeBytes == 0 {
		return nil
	}
	free, err := w.db.opts.FreeBytes(w.db.dir)
	if err != nil {
		return fmt.Errorf("free space of %s: %w", w.db.dir, err)
	}
	low := free < w.db.opts.MinFreeBytes
	if low != w.lowSpace {
		w.lowSpace = low
		if low {
			w.lowSince = w.db.opts.Now()
			w.db.opts.Logger.Warn("disk space is low, creates and updates will be refused",
				"dir", w.db.dir, "freeBytes", free, "minFreeBytes", w.db.opts.MinFreeBytes)
		} else {
			w.db.opts.Logger.Info("disk space is back, creates and updates are accepted", "dir", w.db.dir, "freeBytes", free)
		}
	}
	if low && w.db.opts.Now().Sub(w.lowSince) >= w.db.opts.LowSpaceGrace {
		return fmt.Errorf("%w: %s has %d bytes free, creates and updates need %d",
			ErrNoSpace, w.db.dir, free, w.db.opts.MinFreeBytes)
	}
	return nil
}
