//go:build linux

package kv

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// smallDisk is a directory on a file system of so many bytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount a small file system")
	}
	if err := syscall.Mount("arl-test", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// endless is what a file system says that has promised its space to others, too.
func endless(string) (uint64, error) { return 1 << 40, nil }

// TestRewriteOnAFullDisk runs out of space in the middle of a restore and of a
// shrink, though there seemed to be enough.
func TestRewriteOnAFullDisk(t *testing.T) {
	from := openTest(t, t.TempDir(), Options{})
	for i := range 40 {
		put(t, from, keyN(i), strings.Repeat("v", 100_000), 0)
	}
	var backup bytes.Buffer
	if _, err := from.Backup(t.Context(), &backup, nil); err != nil {
		t.Fatal(err)
	}
	content := dump(from.Snapshot())

	disk := smallDisk(t, "7m")
	filler := filepath.Join(disk, "filler")
	if err := os.WriteFile(filler, make([]byte, 4<<20), fileMode); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(disk, "storage")
	_, err := Restore(t.Context(), bytes.NewReader(backup.Bytes()), dir, RestoreOptions{FreeBytes: endless})
	wantErr(t, "Restore", err, ErrNoSpace)
	if _, err := os.Lstat(dir); err == nil {
		t.Errorf("%s is left behind", dir)
	}
	mustRemove(t, filler)
	if _, err := Restore(t.Context(), bytes.NewReader(backup.Bytes()), dir, RestoreOptions{}); err != nil {
		t.Fatalf("Restore with room: %v", err)
	}
	before := readDir(t, dir)
	_, err = (&shrink{dir: dir, freeBytes: endless, step: func(string) {}}).run(t.Context())
	wantErr(t, "Shrink", err, ErrNoSpace)
	sameFiles(t, before, readDir(t, dir))
	if diff(content, dump(readOffline(t, dir).Snapshot)) != "" {
		t.Error("after that the content is another one")
	}
}
