package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// settleHome sets HOME to a directory in which this process's user may write: the one that the
// environment names, else that of the user in /etc/passwd, else fallback, else one of its own beneath
// the directory for temporary files, else the work directory. A container runtime sets HOME to "/" for
// a user without an entry in /etc/passwd, and an image's ENV or passwd may name what is not there.
func settleHome(fallback, workDir string) error {
	candidates := append(ownHomes(), fallback, filepath.Join(os.TempDir(), "home-"+strconv.Itoa(os.Geteuid())))
	home := workDir
	for _, dir := range candidates {
		if usableHome(dir) {
			home = dir
			break
		}
	}
	if home == "" || home == os.Getenv("HOME") {
		return nil
	}
	if err := os.Setenv("HOME", home); err != nil {
		return fmt.Errorf("setting HOME: %w", err)
	}
	return nil
}

// ownHomes are what the image says of the user's home: in its environment and in its /etc/passwd.
func ownHomes() []string {
	homes := []string{os.Getenv("HOME")}
	if entry, err := user.LookupId(strconv.Itoa(os.Geteuid())); err == nil {
		homes = append(homes, entry.HomeDir)
	}
	return homes
}

// usableHome says that dir is there, or could be made, that this process's user may write in it, and
// that no other ordinary user owns it.
func usableHome(dir string) bool {
	if !filepath.IsAbs(dir) {
		return false
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false
	}
	owner, err := ownerOf(dir)
	return err == nil && (owner == os.Geteuid() || owner == 0) && writable(dir)
}

// writable says that this process's user may make files in dir.
func writable(dir string) bool {
	return unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS) == nil
}

// ownerOf returns the user who owns a file.
func ownerOf(path string) (int, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, &fs.PathError{Op: "owner", Path: path, Err: errors.ErrUnsupported}
	}
	return int(stat.Uid), nil
}
