package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// shrinkSuffix is what files are called while Shrink writes them. It is another
// one than that of a creation, which Open would complete.
const shrinkSuffix = ".shrink"

// ShrinkReport says what Shrink did.
type ShrinkReport struct {
	// Revision is the newest and now also the compacted one.
	Revision int64
	// Keys is how many there are, Dropped how many revisions of history went.
	Keys, Dropped int64
	// Before and After are sizes in bytes.
	Before, After FileSizes
}

// FileSizes are the sizes of the two files.
type FileSizes struct{ Log, State int64 }

// Shrink writes both files of a database that no process has open anew, with
// nothing in them but what is live: bbolt reuses space but never gives it
// back. History goes, as by a compaction of everything: whoever watched has to
// read anew. Keys, values, revisions and the database's ID stay.
//
// It needs room for the new files beside the old ones, else returns
// ErrNoSpace. If the database is open, returns ErrLocked; if it is damaged,
// ErrCorrupt, and nothing is changed. A crash at any moment leaves a database
// that opens with everything: the new state goes first, which makes the old
// log superfluous, and only when that is on disk does the log follow.
func Shrink(ctx context.Context, dir string) (ShrinkReport, error) {
	report, err := (&shrink{dir: dir, freeBytes: freeBytes, step: func(string) {}}).run(ctx)
	if err != nil {
		return ShrinkReport{}, fmt.Errorf("compact %s: %w", dir, err)
	}
	return report, nil
}

type shrink struct {
	dir       string
	freeBytes func(dir string) (uint64, error)
	// step is called after each step; tests look at the directory in it.
	step func(name string)
}

func (s *shrink) run(ctx context.Context) (report ShrinkReport, err error) {
	if err := wantDatabase(s.dir); err != nil {
		return report, err
	}
	lock, err := lockDir(s.dir)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := refuseHalfRestored(s.dir); err != nil {
		return report, err
	}
	if err := removeLeftovers(s.dir); err != nil {
		return report, err
	}
	logPath, statePath := filepath.Join(s.dir, logName), filepath.Join(s.dir, stateName)
	live, old, err := readFiles(logPath, statePath)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, old.close()) }()
	report = ShrinkReport{Revision: live.rev, Keys: int64(live.tree.len()), Dropped: live.rev - live.compacted}
	report.Before = FileSizes{Log: fileSize(logPath), State: fileSize(statePath)}
	if err := s.replace(ctx, live, old.id, logPath, statePath); err != nil {
		return report, errors.Join(err, removeLeftovers(s.dir))
	}
	report.After = FileSizes{Log: fileSize(logPath), State: fileSize(statePath)}
	return report, nil
}

// replace writes the new files and gives them the names of the old ones.
func (s *shrink) replace(ctx context.Context, live root, id [16]byte, logPath, statePath string) error {
	var keys, size int64
	live.tree.ascend("", "", func(e *Entry) bool {
		keys++
		size += entryBytes(e)
		return true
	})
	if err := wantRoom(s.dir, rewriteNeeds(keys, size), s.freeBytes); err != nil {
		return err
	}
	owner, err := os.Stat(statePath)
	if err != nil {
		return err
	}
	w := newRewriter(s.dir, shrinkSuffix, id, live.rev)
	err = w.write(owner, func(add func(*Entry) error) (err error) {
		live.tree.ascend("", "", func(e *Entry) bool {
			if err = ctx.Err(); err == nil {
				err = add(e)
			}
			return err == nil
		})
		return err
	})
	if err != nil {
		return err
	}
	s.step("written")
	err = w.check(ctx, keys, func(written root) error { return sameKeys(live.tree, written.tree) })
	if err != nil {
		return err
	}
	if err := syncDir(s.dir); err != nil {
		return err
	}
	for _, path := range []string{statePath, logPath} {
		if err := os.Rename(path+shrinkSuffix, path); err != nil {
			return err
		}
		if err := syncDir(s.dir); err != nil {
			return err
		}
		s.step("renamed " + filepath.Base(path))
	}
	return nil
}

// sameKeys compares what two trees of the same size hold. The error names the
// first key that differs.
func sameKeys(a, b *tree) (err error) {
	a.ascend("", "", func(x *Entry) bool {
		y, found := b.get(x.Key)
		same := found && x.CreateRev == y.CreateRev && x.ModRev == y.ModRev && x.Expiry == y.Expiry && slices.Equal(x.Tags, y.Tags)
		if same {
			same, err = sameValue(x, y)
		}
		if err == nil && !same {
			err = fmt.Errorf("%w: key %q is not what it was", ErrCorrupt, x.Key)
		}
		return err == nil
	})
	return err
}

func sameValue(x, y *Entry) (bool, error) {
	a, err := x.Load()
	if err != nil {
		return false, err
	}
	b, err := y.Load()
	return bytes.Equal(a, b), err
}

// removeLeftovers removes what a Shrink left behind that was cut short.
func removeLeftovers(dir string) error {
	return removeFiles(filepath.Join(dir, logName+shrinkSuffix), filepath.Join(dir, stateName+shrinkSuffix))
}

// rewriteNeeds is a generous estimate of what a rewritten database takes.
func rewriteNeeds(keys, bytes int64) uint64 {
	const perKey, empty = recordHead + recordCRC + MaxTags*tagSize/8 + 32, 1 << 20
	if keys < 0 || bytes < 0 {
		return empty
	}
	return uint64(float64(bytes+keys*perKey)*1.25) + empty
}

// wantRoom returns ErrNoSpace if dir has less than need bytes free.
func wantRoom(dir string, need uint64, freeBytes func(string) (uint64, error)) error {
	free, err := freeBytes(dir)
	if err != nil {
		return fmt.Errorf("free space of %s: %w", dir, err)
	}
	if free < need {
		return fmt.Errorf("%w: the new files need about %d MiB, %s has %d MiB free", ErrNoSpace, need>>20+1, dir, free>>20)
	}
	return nil
}
