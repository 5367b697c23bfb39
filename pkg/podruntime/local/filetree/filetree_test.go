package filetree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// makeDeep makes so many directories, one in another, below dir, with a file in the last one.
func makeDeep(t *testing.T, dir, name string, levels int) {
	t.Helper()
	fd, err := unix.Open(dir, openFlags, 0)
	for range levels {
		if err == nil {
			err = unix.Mkdirat(fd, name, 0o700)
		}
		if err != nil {
			break
		}
		next, openErr := unix.Openat(fd, name, openFlags, 0)
		unix.Close(fd)
		fd, err = next, openErr
	}
	if err == nil {
		var file int
		if file, err = unix.Openat(fd, "file", unix.O_CREAT|unix.O_WRONLY, 0o600); err == nil {
			_, err = unix.Write(file, make([]byte, 1<<20))
			unix.Close(file)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
}

// fewDescriptors lets this process have no more than so many files open, until the test's end.
func fewDescriptors(t *testing.T, most uint64) {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: most, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	})
}

func remove(t *testing.T, dir string) {
	t.Helper()
	if err := Remove(t.Context(), dir); err != nil {
		t.Errorf("Remove: %v", err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

// TestDeep: a tree of 10,000 levels, with paths far longer than the kernel takes, is measured and removed with a constant number of descriptors. A
// walk that keeps every level open, as os.RemoveAll does, runs out of them.
func TestDeep(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	mkdir(t, dir)
	makeDeep(t, dir, "d", 10_000)
	makeDeep(t, dir, strings.Repeat("long", 60), 500)
	fewDescriptors(t, 128)
	usage, err := Measure(t.Context(), dir, 1<<20)
	if err != nil || usage.Files != 10_503 || usage.Partial || usage.Bytes < 2<<20 {
		t.Errorf("Measure = %+v, %v", usage, err)
	}
	remove(t, dir)
}

func mkdir(t *testing.T, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, path string, size int) {
	t.Helper()
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestWide: directories with more entries than one listing returns, each with directories below.
func TestWide(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	for i := range 1500 {
		mkdir(t, filepath.Join(dir, fmt.Sprintf("directory-with-a-long-name-%d", i), "a", "b"))
	}
	remove(t, dir)
}

// TestRemoveKinds removes everything that a tree can hold, and nothing that links lead to.
func TestRemoveKinds(t *testing.T) {
	base := t.TempDir()
	outside, dir := filepath.Join(base, "outside"), filepath.Join(base, "tree")
	mkdir(t, outside, filepath.Join(dir, "empty"), filepath.Join(dir, "a", "b"))
	write(t, filepath.Join(outside, "kept"), 1)
	write(t, filepath.Join(dir, "a", "file"), 1)
	for _, link := range [][2]string{
		{outside, "outside"}, {"..", "up"}, {".", "self"}, {"nowhere", "dangling"}, {"/", "root"},
	} {
		if err := errors.Join(os.Symlink(link[0], filepath.Join(dir, link[1])), os.Symlink(link[0], filepath.Join(dir, "a", link[1]))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(
		os.Link(filepath.Join(outside, "kept"), filepath.Join(dir, "hard")),
		unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600),
		os.WriteFile(filepath.Join(dir, "\n\xff\x01"), nil, 0),
	); err != nil {
		t.Fatal(err)
	}
	remove(t, dir)
	if _, err := os.Stat(filepath.Join(outside, "kept")); err != nil {
		t.Error(err)
	}
	// The root itself may be anything, too.
	for _, name := range []string{"file", "missing"} {
		if name == "file" {
			write(t, filepath.Join(base, name), 1)
		}
		remove(t, filepath.Join(base, name))
	}
	if err := os.Symlink(outside, filepath.Join(base, "link")); err != nil {
		t.Fatal(err)
	}
	remove(t, filepath.Join(base, "link"))
	if _, err := os.Stat(filepath.Join(outside, "kept")); err != nil {
		t.Error(err)
	}
}

// TestRemoveClosed removes directories that their owner may not read, as a user without privileges.
func TestRemoveClosed(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "tree")
	if os.Geteuid() == 0 {
		// On this thread, files are accessed as another user until the test's end.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer unix.SetfsuidRetUid(0)
		if err := errors.Join(os.Chmod(base, 0o777), os.Chmod(filepath.Dir(base), 0o755)); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.SetfsuidRetUid(65534); err != nil {
			t.Fatal(err)
		}
	}
	mkdir(t, filepath.Join(dir, "a", "b", "c"))
	for _, name := range []string{"a/b/c", "a/b", "a", "."} {
		if err := os.Chmod(filepath.Join(dir, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	remove(t, dir)
}

// TestRemoveImmutable removes what is immutable and append-only.
func TestRemoveImmutable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	mkdir(t, filepath.Join(dir, "a"), filepath.Join(dir, "empty"))
	write(t, filepath.Join(dir, "a", "file"), 1)
	for _, set := range []struct {
		name string
		flag int
	}{{"a/file", immutableFlag}, {"a", immutableFlag}, {"empty", appendOnlyFlag}} {
		file, err := os.Open(filepath.Join(dir, set.name))
		if err != nil {
			t.Fatal(err)
		}
		err = unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, set.flag)
		file.Close()
		if err != nil {
			t.Skipf("files cannot be made immutable here: %v", err)
		}
	}
	remove(t, dir)
}

// TestRemoveMount: what is mounted in a tree is neither removed nor counted, and the error names it. All
// else goes.
func TestRemoveMount(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	mounted := filepath.Join(dir, "a", "mounted")
	mkdir(t, mounted, filepath.Join(dir, "b"))
	if err := unix.Mount("arl-test", mounted, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
	unmount := sync.OnceFunc(func() {
		if err := unix.Unmount(mounted, 0); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(unmount)
	write(t, filepath.Join(mounted, "kept"), 1<<20)
	usage, err := Measure(t.Context(), dir, 1000)
	if err != nil || usage.Bytes > 1<<19 || usage.Files != 4 {
		t.Errorf("Measure = %+v, %v", usage, err)
	}
	err = Remove(t.Context(), dir)
	var failures *Failures
	if !errors.As(err, &failures) || failures.Count != 1 || !errors.Is(err, ErrMountPoint) || !strings.Contains(err.Error(), mounted) {
		t.Errorf("Remove = %v, want one failure that names %s", err, mounted)
	}
	if _, err := os.Stat(filepath.Join(mounted, "kept")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "b")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what is beside the mount stays: %v", err)
	}
	unmount()
	remove(t, dir)
}

// TestRace walks a tree in which somebody makes, moves and removes directories all the time. The walks
// end, and nothing outside of the tree is touched.
func TestRace(t *testing.T) {
	base := t.TempDir()
	dir, outside := filepath.Join(base, "tree"), filepath.Join(base, "outside")
	mkdir(t, outside)
	write(t, filepath.Join(outside, "kept"), 1)
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			// Errors are part of the game: the tree is removed meanwhile.
			deep := filepath.Join(dir, strings.Repeat("d/", openLevels+10))
			_ = os.MkdirAll(deep, 0o700)
			_ = os.WriteFile(filepath.Join(deep, fmt.Sprint(i)), nil, 0o600)
			_ = os.Rename(filepath.Join(dir, strings.Repeat("d/", openLevels+3)), filepath.Join(outside, fmt.Sprint(i)))
			_ = os.Symlink(outside, filepath.Join(dir, "d", fmt.Sprint(i)))
		}
	})
	for range 200 {
		if _, err := Measure(t.Context(), dir, 10_000); err != nil {
			t.Errorf("Measure: %v", err)
		}
		_ = Remove(t.Context(), dir)
	}
	stop()
	group.Wait()
	remove(t, dir)
	if _, err := os.Stat(filepath.Join(outside, "kept")); err != nil {
		t.Error(err)
	}
}

// TestMeasure counts blocks, names once for each file, and no more files than allowed.
func TestMeasure(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	mkdir(t, filepath.Join(dir, "a"))
	empty, err := Measure(t.Context(), dir, 100)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "a", "file"), 8<<20)
	for i := range 7 {
		if err := os.Link(filepath.Join(dir, "a", "file"), filepath.Join(dir, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(filepath.Join(dir, "a", "file"), 1<<40); err != nil {
		t.Fatal(err)
	}
	usage, err := Measure(t.Context(), dir, 100)
	if grown := usage.Bytes - empty.Bytes; err != nil || grown < 8<<20 || grown > 9<<20 || usage.Files != 10 || usage.Partial {
		t.Errorf("Measure = %+v, %v, and %+v before", usage, err, empty)
	}
	if usage, err := Measure(t.Context(), dir, 5); err != nil || usage.Files != 5 || !usage.Partial {
		t.Errorf("Measure of 5 files at most = %+v, %v", usage, err)
	}
	if usage, err := Measure(t.Context(), filepath.Join(dir, "missing"), 5); err != nil || usage != (Usage{}) {
		t.Errorf("Measure of nothing = %+v, %v", usage, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Remove(ctx, dir); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Remove without time: %v", err)
	}
}
