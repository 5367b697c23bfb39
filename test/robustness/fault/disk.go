//go:build linux

package fault

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// sectorSize is what a disk writes as a whole or not at all.
const sectorSize = 512

// Disk remembers what has been done to files since it was last synced. It
// plays the sync itself, at no cost: what counts is what it forgets.
type Disk struct {
	// files are the contents not synced yet, by path.
	files map[string]*unsynced
	// entries are the changes of directories not synced yet, in order.
	entries []entry
}

// unsynced is what happened to a file since its last sync.
type unsynced struct {
	// size is that of the file at the last sync, sizes those it was given since.
	size   int64
	sizes  []int64
	writes []write
}

type write struct {
	off      int64
	old, new []byte
}

// entry is the creation of a file, or a rename.
type entry struct {
	path, to string
	// dir is the directory whose sync makes it last.
	dir string
}

// NewDisk returns a disk on which everything is synced.
func NewDisk() *Disk { return &Disk{files: map[string]*unsynced{}} }

// apply notes a call. It returns false if the call is not to be made.
func (d *Disk) apply(c Call) (pass bool, err error) {
	switch c.Kind {
	case Write:
		return true, d.write(c)
	case Truncate, Allocate:
		u, err := d.of(c.Path)
		if err != nil {
			return false, err
		}
		u.sizes = append(u.sizes, c.Off)
	case Sync:
		delete(d.files, c.Path)
		d.entries = slices.DeleteFunc(d.entries, func(e entry) bool { return e.dir == c.Path })
		return false, nil
	case Rename:
		if u := d.files[c.Path]; u != nil {
			d.files[c.To] = u
			delete(d.files, c.Path)
		}
		d.entries = append(d.entries, entry{path: c.Path, to: c.To, dir: filepath.Dir(c.To)})
	case Create:
		if _, err := os.Lstat(c.Path); errors.Is(err, fs.ErrNotExist) {
			d.entries = append(d.entries, entry{path: c.Path, dir: filepath.Dir(c.Path)})
		}
	}
	return true, nil
}

func (d *Disk) of(path string) (*unsynced, error) {
	if u := d.files[path]; u != nil {
		return u, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	u := &unsynced{size: info.Size()}
	d.files[path] = u
	return u, nil
}

func (d *Disk) write(c Call) error {
	u, err := d.of(c.Path)
	if err != nil {
		return err
	}
	w := write{off: c.Off, old: make([]byte, c.Len)}
	if w.new, err = c.data(); err != nil {
		return err
	}
	f, err := os.Open(c.Path)
	if err != nil {
		return err
	}
	if _, err = f.ReadAt(w.old, w.off); errors.Is(err, io.EOF) {
		err = nil // the rest is zero
	}
	u.sizes = append(u.sizes, c.Off+c.Len)
	u.writes = append(u.writes, w)
	return errors.Join(err, f.Close())
}

// CutPower leaves the files as a disk may find them after the power has gone:
// of what was not synced, any sectors may have been written, in any order. The
// process must have ended. It returns how many bytes were forgotten.
func (d *Disk) CutPower(rnd *rand.Rand) (forgotten int, err error) {
	for path, u := range d.files {
		n, err := u.forget(path, rnd)
		if err != nil {
			return forgotten, fmt.Errorf("forget what was written to %s: %w", path, err)
		}
		forgotten += n
	}
	// Names go in reverse, and after one that is kept so are those before it:
	// a file system keeps the order of its journal.
	for _, e := range slices.Backward(d.entries) {
		if rnd.IntN(2) == 0 {
			break
		}
		if e.to == "" {
			err = os.Remove(e.path)
		} else {
			err = os.Rename(e.to, e.path)
		}
		if err != nil {
			return forgotten, err
		}
	}
	*d = *NewDisk()
	return forgotten, nil
}

// forget takes all writes back, and does some sectors of some of them again.
func (u *unsynced) forget(path string, rnd *rand.Rand) (forgotten int, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for _, w := range slices.Backward(u.writes) {
		if _, err := f.WriteAt(w.old, w.off); err != nil {
			return 0, err
		}
	}
	keep := rnd.IntN(4) // in quarters: from nothing to almost all
	for _, w := range u.writes {
		whole := rnd.IntN(3) > 0
		kept := rnd.IntN(4) < keep
		for at := 0; at < len(w.new); at += sectorSize {
			sector := w.new[at:min(at+sectorSize, len(w.new))]
			if !whole {
				kept = rnd.IntN(4) < keep
			}
			if !kept {
				forgotten += len(sector)
				continue
			}
			if _, err := f.WriteAt(sector, w.off+int64(at)); err != nil {
				return 0, err
			}
		}
	}
	size := u.size
	if len(u.sizes) > 0 && rnd.IntN(2) == 0 {
		size = max(size, slices.Max(u.sizes[:1+rnd.IntN(len(u.sizes))]))
	}
	return forgotten, f.Truncate(size)
}
