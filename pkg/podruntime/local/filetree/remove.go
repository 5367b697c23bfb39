package filetree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	// maxVisits bounds how often a directory is gone through again because files appear in it.
	maxVisits = 100
	// contextEvery is after how many entries the context is looked at.
	contextEvery = 256
	// maxFailures are the failures that an error names.
	maxFailures = 3
)

// Failures is the error of a tree that was not removed completely.
type Failures struct {
	// Count is how many files and directories could not be removed, besides the directories above them.
	Count int
	// First are some of them.
	First []error
}

// Error names some of the files, and says how many more there are.
func (f *Failures) Error() string {
	text := errors.Join(f.First...).Error()
	if more := f.Count - len(f.First); more > 0 {
		text += fmt.Sprintf("\nand %d more", more)
	}
	return text
}

// Unwrap returns the errors of First.
func (f *Failures) Unwrap() []error { return f.First }

func (f *Failures) add(path string, err error) {
	if f.Count++; len(f.First) < maxFailures {
		f.First = append(f.First, &os.PathError{Op: "remove", Path: path, Err: err})
	}
}

// Remove removes a file, or a directory with all in it. It makes directories accessible that are not,
// and removes the flags immutable and append-only where it may. It goes on after what cannot be
// removed, and then returns *Failures. A root that does not exist is no error.
func Remove(ctx context.Context, root string) error {
	root = filepath.Clean(root)
	parent, err := openParent(root)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	return removeIn(ctx, parent, filepath.Base(root))
}

// removeIn is Remove for the entry name of the directory parent.
func removeIn(ctx context.Context, parent *os.File, name string) error {
	w, err := begin(parent, name, true)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		if err := unlink(int(parent.Fd()), name, false); err != nil && !errors.Is(err, unix.ENOENT) {
			return &os.PathError{Op: "remove", Path: filepath.Join(parent.Name(), name), Err: err}
		}
		return nil
	case err != nil:
		return err
	}
	defer w.close()
	r := &remover{walk: w}
	if err := r.all(ctx); err != nil {
		return fmt.Errorf("remove %s: %w", w.root, err)
	}
	if r.failures.Count > 0 {
		return &r.failures
	}
	return nil
}

// remover is a walk that removes. It goes into a directory that is not empty, comes back to the place
// before the directory's name, and so finds it again, this time empty.
type remover struct {
	*walk
	failures Failures
	// state is that of the current directory, left the one of the directory that the walk has just
	// come back from.
	state state
	left  *leftDir
	steps int
}

// leftDir is a directory that the walk has gone through.
type leftDir struct {
	inode uint64
	state state
}

func (r *remover) all(ctx context.Context) error {
	for {
		if r.steps++; r.steps%contextEvery == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e, ok, err := r.next()
		if err != nil {
			r.failures.add(r.path("."), err)
			r.state.failed, ok = true, false
		}
		switch {
		case ok:
			r.entry(e)
		case len(r.frames) > 0:
			if err := r.up(); err != nil {
				return err
			}
		default:
			done, err := r.end()
			if done || err != nil {
				return err
			}
		}
	}
}

// up goes back to the directory above.
func (r *remover) up() error {
	left := leftDir{inode: r.cur.inode, state: r.state}
	above, err := r.leave()
	if err != nil {
		return err
	}
	above.failed = above.failed || left.state.failed
	r.left, r.state = &left, above
	return nil
}

// end removes the root, in which nothing is left but what failed. Files may have appeared meanwhile.
func (r *remover) end() (done bool, err error) {
	if r.state.failed {
		return true, nil
	}
	err = unlink(r.parent, r.name, true)
	if notEmpty(err) && r.state.removed && r.state.visits < maxVisits {
		r.state = state{visits: r.state.visits + 1}
		return false, r.cur.seek(0)
	}
	if errors.Is(err, unix.EBUSY) {
		err = ErrMountPoint
	}
	return true, err
}

// entry removes one entry, or goes into it.
func (r *remover) entry(e entry) {
	err := unlink(r.cur.fd, e.name, e.isDir)
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENOTDIR) {
		e.isDir = !e.isDir
		err = unlink(r.cur.fd, e.name, e.isDir)
	}
	if errors.Is(err, unix.EPERM) && r.thaw(e.name) {
		err = unlink(r.cur.fd, e.name, e.isDir)
	}
	switch {
	case err == nil:
		r.state.removed = true
	case errors.Is(err, unix.ENOENT):
	case e.isDir && notEmpty(err):
		r.down(e)
	case errors.Is(err, unix.EBUSY):
		r.fail(e.name, ErrMountPoint)
	default:
		r.fail(e.name, err)
	}
}

func (r *remover) fail(name string, err error) {
	r.failures.add(r.path(name), err)
	r.state.failed = true
}

// down goes into a directory that is not empty, unless the walk has just been there in vain.
func (r *remover) down(e entry) {
	child, err := r.open(e.name)
	if err != nil {
		r.fail(e.name, err)
		return
	}
	var next state
	if r.left != nil && r.left.inode == child.inode {
		if r.left.state.failed {
			unix.Close(child.fd)
			return
		}
		if !r.left.state.removed || r.left.state.visits >= maxVisits {
			unix.Close(child.fd)
			r.fail(e.name, unix.ENOTEMPTY)
			return
		}
		next.visits = r.left.state.visits + 1
	}
	r.state.removed = true // it will be, and if not, the child says so
	r.enter(child, e.name, e.before, r.state)
	r.state, r.left = next, nil
}

// thaw removes the flags that keep a file or an empty directory from being removed. It returns whether
// there were any.
func (r *remover) thaw(name string) bool {
	st, err := stat(r.cur.fd, name)
	if err != nil || st.Attributes&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND) == 0 {
		return false
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return false
	}
	fd, err := openat(r.cur.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return clearFlags(fd) == nil
}

func unlink(dir int, name string, isDir bool) error {
	flags := 0
	if isDir {
		flags = unix.AT_REMOVEDIR
	}
	return retry(func() error { return unix.Unlinkat(dir, name, flags) })
}

func notEmpty(err error) bool {
	return errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST)
}
