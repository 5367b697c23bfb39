package tree

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCopy(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	in := func(name string) string { return filepath.Join(from, name) }
	old := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	for _, err := range []error{
		os.MkdirAll(in("a/b"), 0o755),
		os.WriteFile(in("a/b/file"), []byte("text"), 0o640),
		os.WriteFile(in("script"), []byte("#!/bin/sh\n"), 0o755),
		os.Chmod(in("script"), 0o755|fs.ModeSetuid),
		os.Symlink("/etc/passwd", in("a/link")),
		os.Symlink("nowhere", in("dangling")),
		unix.Mkfifo(in("pipe"), 0o644),
		os.Chtimes(in("a/b/file"), old, old),
		os.Chtimes(in("a/b"), old, old),
		os.Chmod(in("a/b"), 0o555),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(in("a/b"), 0o755); _ = os.Chmod(filepath.Join(to, "a/b"), 0o755) })
	owned := map[string]bool{}
	if err := Copy(from, to, func(path string) error { owned[path] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{
		"a": 0o755 | fs.ModeDir, "a/b": 0o555 | fs.ModeDir, "a/b/file": 0o640, "script": 0o755,
		"a/link": 0o777 | fs.ModeSymlink, "dangling": 0o777 | fs.ModeSymlink,
	} {
		info, err := os.Lstat(filepath.Join(to, name))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v, want mode %v", name, info, err, mode)
		}
		if !owned[filepath.Join(to, name)] {
			t.Errorf("%s kept its owner", name)
		}
		if (name == "a/b" || name == "a/b/file") && err == nil && !info.ModTime().Equal(old) {
			t.Errorf("%s is of %v, want %v", name, info.ModTime(), old)
		}
	}
	if text, err := os.ReadFile(filepath.Join(to, "a/b/file")); err != nil || string(text) != "text" {
		t.Errorf("the file has %q, %v", text, err)
	}
	if link, err := os.Readlink(filepath.Join(to, "a/link")); err != nil || link != "/etc/passwd" {
		t.Errorf("the link leads to %q, %v", link, err)
	}
	if _, err := os.Lstat(filepath.Join(to, "pipe")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the pipe was copied: %v", err)
	}
}

func TestCopyReturnsTheErrorOfTheOwner(t *testing.T) {
	from := t.TempDir()
	if err := os.WriteFile(filepath.Join(from, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	if err := Copy(from, t.TempDir(), func(string) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
}
