package kv

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestRestore(t *testing.T) {
	backup, info, content := smallBackup(t)
	for _, tt := range []struct {
		name          string
		bump, atLeast int64
		want          int64
	}{
		{"usual", 0, 0, info.Revision + DefaultBump},
		{"chosen", 5000, 0, info.Revision + 5000},
		{"at least", 5000, 1_795_445_774_000_000, 1_795_445_774_000_000},
		{"at least what it is anyway", 5000, 4999, info.Revision + 5000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new", "storage")
			got, err := Restore(t.Context(), bytes.NewReader(backup), dir, RestoreOptions{Bump: tt.bump, AtLeast: tt.atLeast})
			if err != nil {
				t.Fatalf("Restore: %v", err)
			}
			if got.Revision != tt.want || got.Backup != info || got.DatabaseID == info.DatabaseID {
				t.Errorf("restored %+v, want revision %d, another ID, and the backup %+v", got, tt.want, info)
			}
			db := openTest(t, dir, Options{})
			if diff := diff(content, dump(db.Snapshot())); diff != "" {
				t.Errorf("content (-want +got):\n%s", diff)
			}
			tagged := 0
			db.Snapshot().AscendTag(Searchable|3, "", "", func(Entry) bool {
				tagged++
				return true
			})
			if tagged != 1 {
				t.Errorf("%d keys are found by their tag, want 1", tagged)
			}
			if s := db.Stats(); s.Revision != tt.want || s.CompactedRevision != tt.want {
				t.Errorf("stats are %+v, want revision and compacted revision %d", s, tt.want)
			}
			for _, after := range []int64{info.Revision, info.Revision + 100, tt.want - 1} {
				_, err := db.Watch("", after)
				wantErr(t, "Watch from before the restore", err, ErrCompacted)
			}
			if rev := put(t, db, "/new", "x", 0); rev != tt.want+1 {
				t.Errorf("the first write has revision %d, want %d", rev, tt.want+1)
			}
			closeTest(t, db)
			wantSound(t, dir, tt.want+1)
		})
	}
}

// TestRestoreLarge has more than one transaction's worth of keys, and of values
// that need pages of their own.
func TestRestoreLarge(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	fill(t, db, 6000)
	for i := range 12 {
		put(t, db, "/large/"+keyN(i), strings.Repeat("large ", 200_000), 0)
	}
	dir := t.TempDir()
	if _, err := Restore(t.Context(), backupPipe(t, db), dir, RestoreOptions{}); err != nil {
		t.Fatalf("Restore: %v", err)
	}
	restored := openTest(t, dir, Options{})
	if diff := diff(dump(db.Snapshot()), dump(restored.Snapshot())); diff != "" {
		t.Error("the restored database has other content")
	}
}

func TestRestoreRefusesWhatIsNotEmpty(t *testing.T) {
	backup, _, _ := smallBackup(t)
	for _, tt := range []struct {
		name  string
		make  func(t *testing.T, dir string)
		want  error
		words string
	}{
		{"a database", func(t *testing.T, dir string) { closeTest(t, openTest(t, dir, Options{})) }, ErrNotEmpty, "log.db, state.db"},
		{"a stranger's file", func(t *testing.T, dir string) { writeTo(t, dir, "notes.txt") }, ErrNotEmpty, "notes.txt"},
		{"a stranger's file beside a restore that was cut short", func(t *testing.T, dir string) {
			writeTo(t, dir, restoreMark)
			writeTo(t, dir, "notes.txt")
		}, ErrNotEmpty, "notes.txt"},
		{"an open database", func(t *testing.T, dir string) { openTest(t, dir, Options{}) }, ErrLocked, "is locked by another process"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			tt.make(t, dir)
			before := readDir(t, dir)
			_, err := Restore(t.Context(), bytes.NewReader(backup), dir, RestoreOptions{})
			wantErr(t, "Restore", err, tt.want)
			if err != nil && (!strings.Contains(err.Error(), tt.words) || !strings.Contains(err.Error(), dir)) {
				t.Errorf("error %q does not name %s and %s", err, dir, tt.words)
			}
			sameFiles(t, before, readDir(t, dir))
		})
	}
}

func writeTo(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), fileMode); err != nil {
		t.Fatal(err)
	}
}

// TestRestoreFails makes a restore fail in each way it can, and looks that
// everything is as before.
func TestRestoreFails(t *testing.T) {
	backup, _, _ := smallBackup(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name   string
		ctx    context.Context
		backup []byte
		o      RestoreOptions
		want   error
	}{
		{"no room", t.Context(), backup, RestoreOptions{FreeBytes: func(string) (uint64, error) { return 1000, nil }}, ErrNoSpace},
		{"free space is not known", t.Context(), backup, RestoreOptions{FreeBytes: func(string) (uint64, error) { return 0, syscall.EIO }}, syscall.EIO},
		{"cancelled", ended, backup, RestoreOptions{}, context.Canceled},
		{"damaged at its end", t.Context(), backup[:len(backup)-1], RestoreOptions{}, ErrBackup},
		{"bump is negative", t.Context(), backup, RestoreOptions{Bump: -1}, nil},
		{"bump is beyond all numbers", t.Context(), backup, RestoreOptions{Bump: 1<<63 - 1}, nil},
		{"floor is beyond all numbers", t.Context(), backup, RestoreOptions{AtLeast: 1<<63 - 1}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			top := t.TempDir()
			_, err := Restore(tt.ctx, bytes.NewReader(tt.backup), filepath.Join(top, "a", "b"), tt.o)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("got error %v, want %v", err, tt.want)
			}
			if left := readDir(t, top); len(left) > 0 {
				t.Errorf("something is left behind: %v", left)
			}
		})
	}
}

// TestRestoreCutShort copies the directory after each step, as a crash would
// leave it. Open refuses every copy but the last, and never takes it for a new
// database; and every copy can be restored into.
func TestRestoreCutShort(t *testing.T) {
	backup, _, content := smallBackup(t)
	dir := t.TempDir()
	copies := map[string]map[string][]byte{}
	o := RestoreOptions{step: func(name string) { copies[name] = readDir(t, dir) }}
	if _, err := Restore(t.Context(), bytes.NewReader(backup), dir, o); err != nil {
		t.Fatal(err)
	}
	if len(copies) != 5 {
		t.Fatalf("steps are %d, want 5", len(copies))
	}
	for name, files := range copies {
		t.Run(name, func(t *testing.T) {
			crashed := writeDir(t, files)
			if name == "done" {
				db := openTest(t, crashed, Options{})
				if diff := diff(content, dump(db.Snapshot())); diff != "" {
					t.Errorf("content (-want +got):\n%s", diff)
				}
				return
			}
			for what, open := range map[string]func() error{
				"Open":        func() error { _, err := Open(crashed, Options{}); return err },
				"ReadOffline": func() error { _, err := ReadOffline(crashed); return err },
				"Shrink":      func() error { _, err := Shrink(t.Context(), crashed); return err },
			} {
				err := open()
				wantErr(t, what, err, ErrCorrupt)
				if err != nil && !strings.Contains(err.Error(), "restore again") {
					t.Errorf("%s: error %q does not say what to do", what, err)
				}
			}
			wantProblem(t, crashed, "a restore was cut short")
			sameFiles(t, files, readDir(t, crashed))

			_, err := Restore(t.Context(), bytes.NewReader(backup[:100]), crashed, RestoreOptions{})
			wantErr(t, "Restore of a damaged backup", err, ErrBackup)
			_, err = Open(crashed, Options{})
			wantErr(t, "Open after that", err, ErrCorrupt)

			if _, err := Restore(t.Context(), bytes.NewReader(backup), crashed, RestoreOptions{}); err != nil {
				t.Fatalf("Restore again: %v", err)
			}
			db := openTest(t, crashed, Options{})
			if diff := diff(content, dump(db.Snapshot())); diff != "" {
				t.Errorf("content (-want +got):\n%s", diff)
			}
		})
	}
}
