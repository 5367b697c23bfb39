// Package tree copies directory trees whose owner is to change: an image's own content of a work
// directory, for a user who does not own it there. It runs in the agent, inside a pod, and in the
// local runtime, which prepares a pod's files. It starts no goroutines.
package tree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Copy copies what is in the directory from into the directory to, which exists and is empty.
// Directories, regular files and symbolic links are copied, with modes (other than setuid and setgid)
// and times of modification; anything else is left out. Nothing behind a symbolic link is read. What
// this process may not read is left out, too: in the agent, the user could not read it either.
//
// If own is not nil it is called with each path that was made in to, to change its owner.
//
// Neither tree may change meanwhile.
func Copy(from, to string, own func(path string) error) error {
	c := copier{from: from, to: to, own: own}
	err := filepath.WalkDir(from, c.visit)
	// Last, because each new entry changes the time of its directory.
	for i := len(c.dirs) - 1; i >= 0 && err == nil; i-- {
		err = c.finish(c.dirs[i])
	}
	if err != nil {
		return fmt.Errorf("copying %s: %w", from, err)
	}
	return nil
}

type copier struct {
	from, to string
	own      func(string) error
	// dirs are the directories made, outer ones first.
	dirs []made
}

// made is a directory that has yet to get its mode and time.
type made struct {
	path string
	info fs.FileInfo
}

func (c *copier) visit(path string, entry fs.DirEntry, err error) error {
	if err != nil {
		return c.passOver(err)
	}
	rel, err := filepath.Rel(c.from, path)
	if err != nil || rel == "." {
		return err
	}
	info, err := entry.Info()
	if err != nil {
		return c.passOver(err)
	}
	target := filepath.Join(c.to, rel)
	switch {
	case info.IsDir():
		if err := os.Mkdir(target, 0o700); err != nil {
			return err
		}
		c.dirs = append(c.dirs, made{target, info})
		return nil
	case info.Mode().IsRegular():
		return c.file(path, target, info)
	case info.Mode()&fs.ModeSymlink != 0:
		return c.link(path, target)
	}
	return nil
}

// passOver drops the error of what may not be read.
func (c *copier) passOver(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

func (c *copier) file(path, target string, info fs.FileInfo) error {
	source, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return c.passOver(err)
	}
	defer source.Close()
	copied, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(copied, source)
	if err = errors.Join(err, copied.Close()); err != nil {
		return err
	}
	return c.finish(made{target, info})
}

func (c *copier) link(path, target string) error {
	to, err := os.Readlink(path)
	if err != nil {
		return err
	}
	if err := os.Symlink(to, target); err != nil {
		return err
	}
	return c.chown(target)
}

// finish gives a file or directory its owner, mode and time. The owner comes first: a change of it
// clears bits of the mode.
func (c *copier) finish(m made) error {
	if err := c.chown(m.path); err != nil {
		return err
	}
	if err := os.Chmod(m.path, m.info.Mode()&(fs.ModePerm|fs.ModeSticky)); err != nil {
		return err
	}
	return os.Chtimes(m.path, m.info.ModTime(), m.info.ModTime())
}

func (c *copier) chown(path string) error {
	if c.own == nil {
		return nil
	}
	return c.own(path)
}
