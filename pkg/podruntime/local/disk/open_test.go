package disk

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRemovedButOpen: files that are removed and still open or mapped take space, however often they
// are open. Files in memory, and files that have names, do not count.
func TestRemovedButOpen(t *testing.T) {
	dir := t.TempDir()
	before, err := RemovedButOpen(dir, []int{os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	open := func(name string) *os.File {
		f, err := os.Create(filepath.Join(dir, name))
		if err == nil {
			_, err = f.Write(make([]byte, mi))
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	removed, mapped := open("removed"), open("mapped")
	open("named")
	again, err := unix.Dup(int(removed.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(again)
	memory, err := unix.Mmap(int(mapped.Fd()), 0, mi, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(memory) }()
	memfd, err := unix.MemfdCreate("memory", 0)
	if err == nil {
		_, err = unix.Write(memfd, make([]byte, mi))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(memfd)
	for _, f := range []*os.File{removed, mapped} {
		if err := os.Remove(f.Name()); err != nil {
			t.Fatal(err)
		}
	}
	mapped.Close()
	want := int64(2)
	if os.Geteuid() != 0 {
		want = 1 // an ordinary user does not see what is mapped
	}
	got, err := RemovedButOpen(dir, []int{os.Getpid(), -1})
	if err != nil || got.Files-before.Files != want || got.Bytes-before.Bytes < want*mi || got.Partial {
		t.Errorf("RemovedButOpen = %+v, %v; before: %+v; want %d files more", got, err, before, want)
	}
}
