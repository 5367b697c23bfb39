package filetree

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// blockBytes is the unit in which the kernel counts blocks.
const blockBytes = 512

// Usage is what a tree takes of the disk.
type Usage struct {
	// Bytes are those of the blocks, Files the files and directories.
	Bytes, Files int64
	// Partial says that there is more than was counted: the tree has more files than were allowed for,
	// or changes in a way that keeps it from being walked.
	Partial bool
}

// Add returns the sum of two usages.
func (u Usage) Add(other Usage) Usage {
	return Usage{Bytes: u.Bytes + other.Bytes, Files: u.Files + other.Files, Partial: u.Partial || other.Partial}
}

// Measure returns what a file, or a directory and all in it, take. It stops after maxFiles files. A file with
// several names counts as its share for each name. What is mounted in the tree is not counted, and
// a directory that cannot be read makes the usage partial. A root that does not exist takes nothing.
func Measure(ctx context.Context, root string, maxFiles int64) (Usage, error) {
	root = filepath.Clean(root)
	parent, err := openParent(root)
	var w *walk
	if err == nil {
		defer parent.Close()
		w, err = begin(parent, filepath.Base(root), false)
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		return Usage{}, nil
	case errors.Is(err, unix.ENOTDIR):
		st, err := stat(int(parent.Fd()), filepath.Base(root))
		var usage Usage
		usage.count(&st)
		return usage, err
	case err != nil:
		return Usage{}, err
	}
	defer w.close()
	var usage Usage
	if st, err := stat(w.cur.fd, ""); err == nil {
		usage.count(&st)
	}
	for {
		if usage.Files%contextEvery == 0 && ctx.Err() != nil {
			return usage, context.Cause(ctx)
		}
		e, ok, err := w.next()
		switch {
		case err != nil || !ok:
			if len(w.frames) == 0 {
				return usage, nil
			}
			if _, err := w.leave(); err != nil {
				usage.Partial = true
				return usage, ignoreMoved(err)
			}
		case usage.Files >= maxFiles:
			usage.Partial = true
			return usage, nil
		default:
			usage.entry(w, e)
		}
	}
}

// ignoreMoved drops the error of a tree that changes, which is no failure of a measurement.
func ignoreMoved(err error) error {
	if errors.Is(err, errMoved) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return fmt.Errorf("measuring: %w", err)
}

// entry counts one entry, and goes into it if it is a directory.
func (u *Usage) entry(w *walk, e entry) {
	st, err := stat(w.cur.fd, e.name)
	if err != nil {
		return // removed meanwhile
	}
	u.count(&st)
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return
	}
	child, err := w.open(e.name)
	switch {
	case err == nil:
		w.enter(child, e.name, e.after, state{})
	case errors.Is(err, unix.EACCES):
		u.Partial = true
	}
}

func (u *Usage) count(st *unix.Statx_t) {
	u.Files++
	links := int64(1)
	if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
		links = int64(st.Nlink)
	}
	u.Bytes += int64(st.Blocks) * blockBytes / links
}
