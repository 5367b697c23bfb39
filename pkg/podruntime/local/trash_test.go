package local

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"arl.io/arl/pkg/podruntime"
)

// TestDeleteDeepTree: a pod with 30,000 nested directories is deleted completely by a server with few
// descriptors. They used to stay for ever, since each level took one.
func TestDeleteDeepTree(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir()})
	defer f.removeAll()
	pod := f.create(hostSpec("deep"))
	makeDeep(t, f.podPath(pod.UID, upperName), 30_000)
	limitDescriptors(t, 200)
	if err := f.Delete(t.Context(), pod.Key, pod.UID); err != nil {
		t.Fatal(err)
	}
	f.gone(t, "deep")
	if left := f.inTrash(t); len(left) > 0 {
		t.Errorf("left in the trash: %q", left)
	}
}

// makeDeep makes so many directories, one in another.
func makeDeep(t *testing.T, dir string, levels int) {
	t.Helper()
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC
	fd, err := unix.Open(dir, flags, 0)
	for i := 0; i < levels && err == nil; i++ {
		var next int
		if err = unix.Mkdirat(fd, "d", 0o755); err == nil {
			next, err = unix.Openat(fd, "d", flags, 0)
		}
		unix.Close(fd)
		fd = next
	}
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
}

// limitDescriptors lets this process open so many more files than it has, until the test's end.
func limitDescriptors(t *testing.T, more int) {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: uint64(len(open) + more), Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	})
}

// inTrash returns the names in the runtime's trash.
func (f *fixture) inTrash(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(TrashDir(f.config.Dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// TestDeleteWhatCannotBeRemoved: the pod is gone for the server, and another of its name can be made.
// What cannot be removed is in Stuck.
func TestDeleteWhatCannotBeRemoved(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir()})
	defer f.removeAll()
	pod := f.create(hostSpec("one"))
	mounted := filepath.Join(f.podPath(pod.UID, upperName), "mounted")
	if err := os.Mkdir(mounted, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("arl-test", mounted, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		trashed := filepath.Join(TrashDir(f.config.Dir), string(pod.UID), upperName, "mounted")
		err := unix.Unmount(mounted, 0)
		if again := unix.Unmount(trashed, 0); err != nil && again != nil {
			t.Error(err, again)
		}
	})
	if err := f.Delete(t.Context(), pod.Key, pod.UID); err != nil {
		t.Fatal(err)
	}
	f.gone(t, "one")
	stuck := f.Stuck()
	if len(stuck) != 1 || !strings.Contains(stuck[0].Err.Error(), "mounted") {
		t.Errorf("Stuck = %+v", stuck)
	}
	if next, err := f.Create(t.Context(), hostSpec("one")); err != nil || next.UID == pod.UID {
		t.Errorf("another pod of the name: %+v, %v", next, err)
	}
}

// TestEmptyTrash: EmptyTrash removes what an earlier server left, and the runtime leaves it to that if
// it is asked to.
func TestEmptyTrash(t *testing.T) {
	needContainers(t)
	dir := t.TempDir()
	left := filepath.Join(TrashDir(dir), "left")
	if err := os.MkdirAll(filepath.Join(left, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	f := start(t, Config{Dir: dir, KeepTrash: true})
	freed, count, err := f.EmptyTrash(t.Context())
	if err != nil || count != 1 || freed.Files != 3 {
		t.Errorf("EmptyTrash = %+v, %d, %v", freed, count, err)
	}
	if _, err := os.Lstat(left); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := f.Create(t.Context(), hostSpec("one")); err != nil {
		t.Error(err)
	}
	f.pod(t, "one", podruntime.Ready)
	f.removeAll()
}
