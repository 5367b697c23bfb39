package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
)

// smallBackup is a backup of a few keys with all that an entry can have.
func smallBackup(t testing.TB) (backup []byte, info BackupInfo, content []Entry) {
	t.Helper()
	db := openTest(t, t.TempDir(), Options{})
	put(t, db, "/k/plain", "value", 0)
	rev := put(t, db, "/k/changed", "before", 0)
	put(t, db, "/k/changed", strings.Repeat("after ", 20), rev)
	remove(t, db, "/k/gone", put(t, db, "/k/gone", "x", 0))
	for _, op := range []Op{{Key: "/k/empty"}, {Key: "/k/tagged", Value: []byte("v"), Expiry: 1234, Tags: []uint64{1, Searchable | 3}}} {
		if _, err := db.Apply(t.Context(), op); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	info, err := db.Backup(t.Context(), &out, nil)
	if err != nil {
		t.Fatalf("Backup: %v", err)
	}
	return out.Bytes(), info, dump(db.Snapshot())
}

func TestBackupSaysWhatIsInIt(t *testing.T) {
	backup, info, content := smallBackup(t)
	if info.Keys != int64(len(content)) || info.Size != int64(len(backup)) || info.Revision != 8 || len(info.DatabaseID) != 32 {
		t.Errorf("info is %+v; the backup has %d keys, %d bytes", info, len(content), len(backup))
	}
	var progress []BackupProgress
	got, err := CheckBackup(t.Context(), bytes.NewReader(backup), func(p BackupProgress) { progress = append(progress, p) })
	if err != nil || got != info {
		t.Errorf("CheckBackup returned %+v, %v, want %+v", got, err, info)
	}
	last := progress[len(progress)-1]
	if last.Keys != info.Keys || last.TotalKeys != info.Keys || last.Bytes != info.Bytes || last.TotalBytes != info.Bytes {
		t.Errorf("the last progress is %+v, want all of %+v", last, info)
	}
}

// TestBackupCutShort cuts a backup at every length: none of them passes, and
// restoring one leaves nothing behind.
func TestBackupCutShort(t *testing.T) {
	backup, _, _ := smallBackup(t)
	for n := range backup {
		_, err := CheckBackup(t.Context(), bytes.NewReader(backup[:n]), nil)
		if !errors.Is(err, ErrBackup) || !strings.Contains(err.Error(), fmt.Sprintf("cut short at byte %d", n)) {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(backup), err)
		}
		dir := t.TempDir()
		if _, err := Restore(t.Context(), bytes.NewReader(backup[:n]), dir, RestoreOptions{}); !errors.Is(err, ErrBackup) {
			t.Fatalf("restored from %d of %d bytes: %v", n, len(backup), err)
		}
		if left := readDir(t, dir); len(left) > 0 {
			t.Fatalf("after a refused restore there are %d files", len(left))
		}
	}
}

// TestBackupFlippedByte changes every byte of a backup, in three ways.
func TestBackupFlippedByte(t *testing.T) {
	backup, _, _ := smallBackup(t)
	for at := range backup {
		for _, mask := range []byte{0x01, 0x80, 0xff} {
			damaged := bytes.Clone(backup)
			damaged[at] ^= mask
			_, err := CheckBackup(t.Context(), bytes.NewReader(damaged), nil)
			if !errors.Is(err, ErrBackup) && !errors.Is(err, ErrFormat) {
				t.Fatalf("byte %d of %d changed by %#x: %v", at, len(backup), mask, err)
			}
			// Lengths are checked before they are believed.
			if inLengths := at >= backupHead && at < backupHead+frameHead; inLengths && !strings.Contains(err.Error(), fmt.Sprintf("at byte %d the lengths", backupHead)) {
				t.Errorf("byte %d changed by %#x: the error is of another place: %v", at, mask, err)
			}
		}
	}
}

func TestBackupOfAnotherKind(t *testing.T) {
	backup, _, _ := smallBackup(t)
	newer := bytes.Clone(backup)
	newer[8] = 7
	for _, tt := range []struct {
		name   string
		backup []byte
		want   error
		words  string
	}{
		{"nothing", nil, ErrBackup, "cut short at byte 0"},
		{"a text", []byte("apiVersion: v1\nkind: List\n"), ErrFormat, "not a backup of this program"},
		{"a short text", []byte("hi"), ErrFormat, "not a backup of this program"},
		{"another version", newer, ErrFormat, "format version is 7, this program reads 1"},
		{"two in a row", append(bytes.Clone(backup), backup...), ErrBackup, "something behind its end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := CheckBackup(t.Context(), bytes.NewReader(tt.backup), nil)
			wantErr(t, "CheckBackup", err, tt.want)
			if err != nil && !strings.Contains(err.Error(), tt.words) {
				t.Errorf("error %q does not say %q", err, tt.words)
			}
		})
	}
}

// TestBackupIsOfOneRevision backs up while writers keep two keys equal, each
// in a write of its own: at any one revision they differ by at most one.
func TestBackupIsOfOneRevision(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	fill(t, db, 2000)
	revs := [2]int64{put(t, db, "/a", "0", 0), put(t, db, "/z", "0", 0)}
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			for i, key := range []string{"/a", "/z"} {
				e, err := db.Apply(t.Context(), Op{Key: key, Value: fmt.Append(nil, n), Expect: revs[i]})
				if err != nil {
					t.Errorf("write: %v", err)
					return
				}
				revs[i] = e.ModRev
			}
		}
	})
	for range 20 {
		var a, z int
		b, err := openBackup(t.Context(), backupPipe(t, db), nil)
		if err != nil {
			t.Fatal(err)
		}
		info, err := b.each(func(e *Entry) error {
			switch e.Key {
			case "/a":
				_, err = fmt.Sscan(string(e.Value), &a)
			case "/z":
				_, err = fmt.Sscan(string(e.Value), &z)
			}
			return err
		})
		if err != nil || a-z != 0 && a-z != 1 {
			t.Errorf("a backup of revision %d has %d and %d: %v", info.Revision, a, z, err)
		}
	}
	stop()
	writing.Wait()
}

// backupPipe is a backup that is written as it is read.
func backupPipe(t *testing.T, db *DB) io.Reader {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := db.Backup(t.Context(), w, nil)
		w.CloseWithError(err)
	}()
	t.Cleanup(func() { <-done })
	return r
}

// TestBackupBlocksNobody has a backup wait for its reader for ever, while the
// database is written to, compacted and closed.
func TestBackupBlocksNobody(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	fill(t, db, 2000)
	r := backupPipe(t, db)
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	want := dump(db.Snapshot())
	rev := put(t, db, "/later", "x", 0)
	compact(t, db, rev)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(r)
	if err != nil || len(rest) < len(want)*100 {
		t.Errorf("the rest of the backup has %d bytes: %v", len(rest), err)
	}
}

func TestBackupEndsWithItsContext(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	fill(t, db, 2*progressKeys)
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	_, err := db.Backup(ctx, &out, func(BackupProgress) { cancel() })
	wantErr(t, "Backup", err, context.Canceled)
	_, err = CheckBackup(t.Context(), &out, nil)
	wantErr(t, "CheckBackup of what was written", err, ErrBackup)
}

func FuzzCheckBackup(f *testing.F) {
	backup, _, _ := smallBackup(f)
	f.Add(backup)
	f.Add(backup[:len(backup)-1])
	f.Add([]byte(backupMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := CheckBackup(t.Context(), bytes.NewReader(data), nil)
		if err == nil && info.Size != int64(len(data)) {
			t.Errorf("a backup of %d bytes passed as one of %d", len(data), info.Size)
		}
		if err != nil && !errors.Is(err, ErrBackup) && !errors.Is(err, ErrFormat) {
			t.Errorf("neither ErrBackup nor ErrFormat: %v", err)
		}
	})
}
