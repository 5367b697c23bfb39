package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// defaultMode is that of a new file.
	defaultMode fs.FileMode = 0o644
	// keptBits are those of an existing file's mode that its new content gets.
	keptBits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	// MaxPatchedBytes bounds the size of a file that can be patched, as it is
	// held in memory.
	MaxPatchedBytes = 32 << 20
)

// Write replaces the content of a file, seen from the root, and makes it and
// the directories above it if missing. The mode nil keeps that of an existing
// file, and is 0644 for a new one. If name leads out of the root, returns ErrEscapes.
func (r *Root) Write(name string, content []byte, mode *fs.FileMode) error {
	target, err := r.open(name, true)
	if err != nil {
		return err
	}
	defer target.close()
	return target.replace(content, mode)
}

// target is a regular file, there or to be made, in an open directory.
type target struct {
	// name is the path as asked for, for messages.
	name string
	dir  *os.Root
	base string
	// info is nil if there is no such file.
	info fs.FileInfo
}

// open resolves a path and opens the directory that holds it. With makeDirs the
// directory is made if missing. The caller closes the target.
func (r *Root) open(name string, makeDirs bool) (*target, error) {
	resolved, err := r.resolve(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	dirName, base := path.Split(resolved)
	if base == "." || name == "" || name[len(name)-1] == '/' {
		return nil, fmt.Errorf("%s: is a directory", name)
	}
	if dirName == "" {
		dirName = "."
	}
	dir, err := r.root.OpenRoot(path.Clean(dirName))
	if errors.Is(err, fs.ErrNotExist) && makeDirs {
		if err = r.root.MkdirAll(path.Clean(dirName), 0o755); err == nil {
			dir, err = r.root.OpenRoot(path.Clean(dirName))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: opening its directory: %w", name, reason(err))
	}
	opened := &target{name: name, dir: dir, base: base}
	info, err := dir.Lstat(base)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return opened, nil
	case err != nil:
		err = reason(err)
	case info.IsDir():
		err = errors.New("is a directory")
	case !info.Mode().IsRegular():
		err = errors.New("is not a regular file")
	default:
		opened.info = info
		return opened, nil
	}
	opened.close()
	return nil, fmt.Errorf("%s: %w", name, err)
}

func (t *target) close() { _ = t.dir.Close() }

// replace puts a new file with the content in the place of the target.
func (t *target) replace(content []byte, mode *fs.FileMode) error {
	wanted := defaultMode
	if t.info != nil {
		wanted = t.info.Mode() & keptBits
	}
	if mode != nil {
		wanted = *mode
	}
	var owner *syscall.Stat_t
	if t.info != nil {
		owner, _ = t.info.Sys().(*syscall.Stat_t)
	}
	temporary := temporaryName()
	err := fill(t.dir, temporary, content, wanted, owner)
	if err == nil {
		err = t.dir.Rename(temporary, t.base)
	}
	if err != nil {
		// It may not even have been made.
		_ = t.dir.Remove(temporary)
		if errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("%s: is a mount point, which cannot be replaced", t.name)
		}
		return fmt.Errorf("%s: writing: %w", t.name, reason(err))
	}
	return nil
}

// fill makes a new file with content and mode, and the owner unless that is nil.
func fill(dir *os.Root, name string, content []byte, mode fs.FileMode, owner *syscall.Stat_t) (err error) {
	created, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, created.Close()) }()
	if _, err := created.Write(content); err != nil {
		return err
	}
	if owner != nil && !mine(owner) {
		if err := created.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	// After the change of owner, which clears some bits.
	return created.Chmod(mode)
}

// mine says whether a new file would have the owner anyway.
func mine(owner *syscall.Stat_t) bool {
	return int(owner.Uid) == os.Geteuid() && int(owner.Gid) == os.Getegid()
}
