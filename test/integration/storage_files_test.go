package integration

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// TestVerifyFindsDamage flips a byte in each file of a stopped server: verify
// names file and place, and changes nothing.
func TestVerifyFindsDamage(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	makeDatabase(t, s)
	wantWords(t, mustStorage(t, "verify", "--data-dir", s.data), "everything is in order: 3 objects")
	for name, object := range map[string]string{"log.db": loggedName, "state.db": foldedName} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(s.storage(), name)
			whole := mustRead(t, path)
			mustWrite(t, path, flipped(t, whole, object))
			before := checksums(t, s.data)
			words := []string{path, ": page ", "checksum does not match", "Restore the last backup", "problems found: "}
			if name == "log.db" {
				words = append(words, "revision ")
			} else {
				words = append(words, "key ")
			}
			storageFails(t, []string{"verify", "--data-dir", s.data}, words...)
			wantWords(t, s.refuse(t), path)
			if diff := gocmp.Diff(before, checksums(t, s.data)); diff != "" {
				t.Errorf("verify changed files (-before +after):\n%s", diff)
			}
			mustWrite(t, path, whole)
		})
	}
}

// TestCompactShrinks deletes most of what there was: the files get smaller, and
// what is left is there.
func TestCompactShrinks(t *testing.T) {
	t.Parallel()
	s := ownServer(t, "--storage-retention=100ms")
	s.mustStart(t)
	n := tenantIn(t, s, "default")
	n.createBulky(300)
	for i := range 298 {
		if err := n.Pools().Delete(t.Context(), fmt.Sprintf("bulky-%d", i), deleteNow); err != nil {
			t.Fatal(err)
		}
	}
	// History that is kept for watches is not removed.
	n.awaitCompacted(n.CreatePool(hostPool("marker", 0)).ResourceVersion)
	if err := n.Pools().Delete(t.Context(), "marker", deleteNow); err != nil {
		t.Fatal(err)
	}
	s.mustStop(t)
	before := storageSize(t, s)
	wantWords(t, mustStorage(t, "compact", "--data-dir", s.data), "BEFORE", "AFTER", "3 objects at revision")
	if after := storageSize(t, s); after > before/8 {
		t.Errorf("%d bytes are left of %d", after, before)
	}
	wantWords(t, mustStorage(t, "verify", "--data-dir", s.data), "everything is in order: 3 objects")
	s.mustStart(t)
	if got, err := n.Pools().List(t.Context(), everything); err != nil || len(got.Items) != 2 {
		t.Errorf("%d pools are left, want 2: %v", len(got.Items), err)
	}
	n.CreatePool(hostPool("new", 0))
}

func storageSize(t *testing.T, s *server) (size int64) {
	t.Helper()
	for _, name := range []string{"log.db", "state.db"} {
		info, err := os.Stat(filepath.Join(s.storage(), name))
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	return size
}

// TestRunningServerIsNotTouched runs what is for stopped servers on a running one.
func TestRunningServerIsNotTouched(t *testing.T) {
	t.Parallel()
	s := shared(t)
	backup := filepath.Join(t.TempDir(), "backup")
	mustStorage(t, "backup", "--data-dir", s.data, "--output", backup)
	for _, args := range [][]string{{"verify"}, {"compact"}, {"restore", "--input", backup}} {
		storageFails(t, append(args, "--data-dir", s.data), "uses "+s.data, "stop it first")
	}
	for _, args := range [][]string{{"backup", "--offline", "--output", backup}, {"stats", "--offline"}} {
		storageFails(t, append(args, "--data-dir", s.data), "a server runs on "+s.data, "leave --offline out")
	}
	if err := s.get(t.Context(), s.config, "/readyz"); err != nil {
		t.Errorf("the server has suffered: %v", err)
	}
}

// TestRestoreRefuses gives restore what it must not take. Nothing changes.
func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	makeDatabase(t, s)
	backup := filepath.Join(s.dir, "backup")
	mustStorage(t, "backup", "--data-dir", s.data, "--offline", "--output", backup)
	whole := mustRead(t, backup)
	damaged := bytes.Clone(whole)
	damaged[len(damaged)/2] ^= 1
	newer := bytes.Clone(whole)
	newer[8]++
	empty := filepath.Join(s.dir, "empty")
	for _, tt := range []struct {
		name   string
		backup []byte
		dir    string
		words  []string
	}{
		{"onto a database", whole, s.data, []string{s.storage() + " has log.db, state.db in it", "nothing is ever overwritten", "mv " + s.storage()}},
		{"cut short", whole[:len(whole)/2], empty, []string{"cut short at byte", "Nothing has been restored", "Take another backup"}},
		{"damaged", damaged, empty, []string{"backup is damaged", "Nothing has been restored"}},
		{"of another version", newer, empty, []string{"format version is 2, this program reads 1"}},
		{"of another kind", []byte("PK\x03\x04 this is a zip file"), empty, []string{"not a backup of this program"}},
		{"empty", nil, empty, []string{"cut short at byte 0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			input := filepath.Join(s.dir, "input")
			mustWrite(t, input, tt.backup)
			before := checksums(t, s.data)
			storageFails(t, []string{"restore", "--input", input, "--data-dir", tt.dir}, tt.words...)
			if diff := gocmp.Diff(before, checksums(t, s.data)); diff != "" {
				t.Errorf("files changed (-before +after):\n%s", diff)
			}
			if _, err := os.Lstat(empty); err == nil {
				t.Errorf("%s has been made and left", empty)
			}
		})
	}
	storageFails(t, []string{"restore", "--input", backup + ".none", "--data-dir", empty}, "no such file")
	storageFails(t, []string{"restore", "--input", backup}, "--data-dir: must be given")
	storageFails(t, []string{"restore", "--data-dir", empty}, "--input: must be given")
	storageFails(t, []string{"verify", "--data-dir", empty}, "no such file")
}

// TestReadOnlyDirectory runs the commands on a directory of a read-only file
// system: those that only read work, the others and the server say what is wrong.
func TestReadOnlyDirectory(t *testing.T) {
	needRoot(t, "it mounts a directory read-only")
	t.Parallel()
	s := ownServer(t)
	makeDatabase(t, s)
	backup := filepath.Join(s.dir, "backup")
	mountReadOnly(t, s.data)
	wantWords(t, mustStorage(t, "verify", "--data-dir", s.data), "everything is in order: 3 objects")
	wantWords(t, mustStorage(t, "stats", "--offline", "--data-dir", s.data), "warmpools.arl.io")
	wantWords(t, mustStorage(t, "backup", "--offline", "--data-dir", s.data, "--output", backup), "3 objects")
	storageFails(t, []string{"compact", "--data-dir", s.data}, s.storage(), "read-only file system")
	storageFails(t, []string{"restore", "--input", backup, "--data-dir", filepath.Join(s.data, "deeper")}, filepath.Join(s.data, "deeper"), "read-only file system")
	storageFails(t, []string{"backup", "--offline", "--data-dir", s.data, "--output", filepath.Join(s.data, "b")}, filepath.Join(s.data, "b"), "read-only file system")
	wantWords(t, s.refuse(t), s.storage(), "read-only file system")
}

// mountReadOnly makes a directory read-only, until the test's end.
func mountReadOnly(t *testing.T, dir string) {
	t.Helper()
	if err := syscall.Mount(dir, dir, "", syscall.MS_BIND, ""); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	if err := syscall.Mount("", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Skipf("nothing can be mounted read-only here: %v", err)
	}
}

// TestForeignDirectory has an ordinary user work on the database of another:
// no user who may not read it gets anything, and what is said names the file.
func TestForeignDirectory(t *testing.T) {
	needRoot(t, "it becomes another user")
	t.Parallel()
	s := ownServer(t)
	makeDatabase(t, s)
	home := ordinaryHome(t)
	for _, name := range []string{"arl-apiserver", "arl-agent", "arl-launcher"} {
		copyProgram(t, filepath.Join(filepath.Dir(binary()), name), filepath.Join(home, name))
	}
	if err := os.Chmod(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	before := checksums(t, s.data)
	for _, args := range [][]string{
		{"storage", "verify", "--data-dir", s.data},
		{"storage", "compact", "--data-dir", s.data},
		{"storage", "backup", "--offline", "--output", "-", "--data-dir", s.data},
		{"--standalone", "--secure-port", "0", "--data-dir", s.data},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		command := exec.CommandContext(ctx, filepath.Join(home, "arl-apiserver"), args...)
		command.Dir = home
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinaryUser, Gid: ordinaryUser}}
		got, err := runToEnd(ctx, command)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if got.Code != 1 {
			t.Errorf("%v: exit code %d, want 1", args, got.Code)
		}
		wantWords(t, got.Stdout+got.Stderr, s.data, "permission denied")
	}
	if diff := gocmp.Diff(before, checksums(t, s.data)); diff != "" {
		t.Errorf("files changed (-before +after):\n%s", diff)
	}
}

// TestStorageCommandsOnAFullDisk runs what writes where there is no room. It
// says so, and everything stays as it was.
func TestStorageCommandsOnAFullDisk(t *testing.T) {
	needRoot(t, "it mounts a file system of its own")
	t.Parallel()
	s := ownServer(t, "--storage-min-free=0")
	mountSmall(t, s, 96<<20)
	s.mustStart(t)
	n := tenantIn(t, s, "default")
	n.createBulky(20)
	elsewhere := filepath.Join(s.dir, "backup")
	mustStorage(t, "backup", "--data-dir", s.data, "--output", elsewhere)
	filler := fillDisk(t, s.data)
	here := filepath.Join(s.data, "backup")
	storageFails(t, []string{"backup", "--data-dir", s.data, "--output", here}, here, "no space left on device")
	if _, err := os.Lstat(here + ".partial"); err == nil {
		t.Errorf("%s.partial is left", here)
	}
	s.mustStop(t)
	storageFails(t, []string{"compact", "--data-dir", s.data}, "no space left", s.storage(), "Nothing has changed")
	other := filepath.Join(s.data, "other")
	storageFails(t, []string{"restore", "--input", elsewhere, "--data-dir", other}, "no space left", "Nothing has been restored")
	if _, err := os.Lstat(other); err == nil {
		t.Errorf("%s is left", other)
	}
	wantWords(t, mustStorage(t, "verify", "--data-dir", s.data), "everything is in order: 21 objects")

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	mustStorage(t, "compact", "--data-dir", s.data)
	mustStorage(t, "restore", "--input", elsewhere, "--data-dir", other)
	s.mustStart(t)
	if got, err := n.Pools().List(t.Context(), everything); err != nil || len(got.Items) != 20 {
		t.Errorf("%d pools, want 20: %v", len(got.Items), err)
	}
}

// TestRestoreKilled kills restore in its middle, when it waits for its input:
// the server refuses what is left and says what to do, which then works.
func TestRestoreKilled(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	makeDatabase(t, s)
	backup := filepath.Join(s.dir, "backup")
	mustStorage(t, "backup", "--data-dir", s.data, "--offline", "--output", backup)
	whole := mustRead(t, backup)
	if err := os.RemoveAll(s.storage()); err != nil {
		t.Fatal(err)
	}

	command := exec.CommandContext(t.Context(), binary(), "storage", "restore", "--input", "-", "--data-dir", s.data)
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := input.Write(whole[:len(whole)-10]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the restore is under way", func(context.Context) error {
		_, err := os.Stat(filepath.Join(s.storage(), "state.db.new"))
		return err
	})
	if err := command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := command.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the restore ended with %v, want killed", err)
	}
	wantWords(t, s.refuse(t), "a restore into "+s.storage()+" was cut short", "restore again")
	mustStorage(t, "restore", "--input", backup, "--data-dir", s.data)
	s.mustStart(t)
	n := tenantIn(t, s, "default")
	if _, err := n.Pools().Get(t.Context(), loggedName, getNow); err != nil {
		t.Error(err)
	}
}
