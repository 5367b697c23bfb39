package kv

import (
	"bytes"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestWatermark checks that creates and updates are refused, and only they,
// while space is short.
func TestWatermark(t *testing.T) {
	var free atomic.Uint64
	free.Store(1000)
	var log bytes.Buffer
	db := openTest(t, t.TempDir(), Options{
		MinFreeBytes: 1000,
		FreeBytes:    func(string) (uint64, error) { return free.Load(), nil },
		Logger:       slog.New(slog.NewTextHandler(&log, nil)),
	})
	a := put(t, db, "a", "1", 0)
	b := put(t, db, "b", "1", 0)
	free.Store(999)
	for _, op := range []Op{{Key: "c"}, {Key: "a", Expect: a}, {Key: "c"}} {
		_, err := db.Apply(t.Context(), op)
		wantErr(t, "Apply", err, ErrNoSpace)
		if !strings.Contains(err.Error(), db.dir) {
			t.Errorf("error %q does not name %s", err, db.dir)
		}
	}
	if rev := remove(t, db, "b", b); rev != b+1 {
		t.Errorf("delete got revision %d, want %d: the refused writes took some", rev, b+1)
	}
	compact(t, db, b)
	free.Store(1000)
	put(t, db, "a", "2", a)
	closeTest(t, db)
	for line, want := range map[string]int{"disk space is low": 1, "disk space is back": 1} {
		if got := strings.Count(log.String(), line); got != want {
			t.Errorf("%q was logged %d times, want %d", line, got, want)
		}
	}
}

// TestLowSpaceGrace: while somebody fills the disk for a moment, creates and updates go on with what is
// allocated ahead. They are refused if that lasts.
func TestLowSpaceGrace(t *testing.T) {
	var free, now atomic.Int64
	free.Store(1000)
	db := openTest(t, t.TempDir(), Options{
		MinFreeBytes: 1000, LowSpaceGrace: time.Minute,
		FreeBytes: func(string) (uint64, error) { return uint64(free.Load()), nil },
		Now:       func() time.Time { return time.Unix(now.Load(), 0) },
	})
	rev := put(t, db, "a", "1", 0)
	for range 2 {
		free.Store(0)
		full(db.files.logReserve)
		full(db.files.stateReserve)
		for range 100 {
			rev = put(t, db, "a", strings.Repeat("x", 1000), rev)
		}
		now.Add(59)
		rev = put(t, db, "a", "2", rev)
		now.Add(1)
		_, err := db.Apply(t.Context(), Op{Key: "a", Expect: rev})
		wantErr(t, "Apply after the grace", err, ErrNoSpace)
		free.Store(1000)
		db.files.logReserve.allocate, db.files.stateReserve.allocate = fallocate, fallocate
		rev = put(t, db, "a", "3", rev)
	}
}

func TestWatermarkUnknown(t *testing.T) {
	errStat := errors.New("no statfs here")
	db := openTest(t, t.TempDir(), Options{MinFreeBytes: 1, FreeBytes: func(string) (uint64, error) { return 0, errStat }})
	_, err := db.Apply(t.Context(), Op{Key: "a"})
	wantErr(t, "Apply", err, errStat)
}

func TestFreeBytes(t *testing.T) {
	if free, err := freeBytes(t.TempDir()); err != nil || free == 0 {
		t.Errorf("freeBytes = %d, %v", free, err)
	}
	if _, err := freeBytes("/nonexistent"); err == nil {
		t.Error("freeBytes of what is not there worked")
	}
}

// full makes a reserve that can grow no more.
func full(r *reserve) {
	r.allocate = func(*os.File, int64, int64) error { return os.NewSyscallError("fallocate", syscall.ENOSPC) }
}

// TestDiskFull lets the file system run full: puts are refused before the
// room that deletes need is gone, deletes and reads go on, compaction goes on
// once there is little left to keep, and nothing fails.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, dir, Options{})
	fill(t, db, 2000)
	value := make([]byte, 1<<20)
	var err error
	for i := 0; err == nil; i++ {
		if i == 40 { // MB, more than what is allocated ahead in state.db
			full(db.files.logReserve)
			full(db.files.stateReserve)
		}
		if i == 100 {
			t.Fatal("60 MB were written on a full disk")
		}
		_, err = db.Apply(t.Context(), Op{Key: keyN(i), Value: value})
	}
	wantErr(t, "Apply", err, ErrNoSpace)
	wantErr(t, "Apply", err, syscall.ENOSPC)
	wantErr(t, "Compact", db.Compact(t.Context(), db.Snapshot().Revision()), ErrNoSpace)
	for _, e := range dump(db.Snapshot()) {
		remove(t, db, e.Key, e.ModRev)
	}
	compact(t, db, db.Snapshot().Revision())
	eventually(t, "log is trimmed", func() bool { return logRecords(t, db) == 0 })
	if db.Err() != nil {
		t.Errorf("Err = %v", db.Err())
	}
}

// TestTrimWaitsForRoom checks that trimming a full disk neither fails the
// database nor keeps the writer busy, and goes on when there is room.
func TestTrimWaitsForRoom(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, dir, Options{})
	rev := put(t, db, "a", "1", 0)
	closeTest(t, db)
	db = openTest(t, dir, Options{})
	var room atomic.Bool
	db.files.logReserve.allocate = func(f *os.File, off, n int64) error {
		if !room.Load() {
			return syscall.ENOSPC
		}
		return fallocate(f, off, n)
	}
	compact(t, db, rev)
	_, err := db.Apply(t.Context(), Op{Key: "a", Delete: true, Expect: rev})
	wantErr(t, "delete without any room", err, ErrNoSpace)
	if n := logRecords(t, db); n != 2 {
		t.Errorf("%d records in the log, want 2: it was trimmed without room", n)
	}
	room.Store(true)
	remove(t, db, "a", rev)
	eventually(t, "log is trimmed", func() bool { return logRecords(t, db) == 1 })
}

func TestReserve(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, fileMode); err != nil {
		t.Fatal(err)
	}
	r, err := openReserve(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	const most = reserveStep + 1000 // of which there are blocks
	limited := func(errno error) func(*os.File, int64, int64) error {
		return func(f *os.File, off, n int64) error {
			if off+n > most {
				return errno
			}
			return fallocate(f, off, n)
		}
	}
	tests := []struct {
		name     string
		errno    error
		end      int64
		want     error
		wantEnd  int64
		wantSize int64
	}{
		{"a step", syscall.ENOSPC, 1, nil, reserveStep, reserveStep},
		{"within it", errDisk, reserveStep, nil, reserveStep, reserveStep},
		{"other error", errDisk, reserveStep + 1, errDisk, reserveStep, reserveStep},
		{"no room for a step", syscall.ENOSPC, most, nil, most, most},
		{"no room", syscall.ENOSPC, most + 1, ErrNoSpace, most, most},
		{"quota", syscall.EDQUOT, most + 1, ErrNoSpace, most, most},
		{"not supported", syscall.EOPNOTSUPP, most + 1, nil, math.MaxInt64, most},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r.allocate = limited(tt.errno)
			wantErr(t, "ensure", r.ensure(tt.end), tt.want)
			if r.end != tt.wantEnd || fileSize(path) != tt.wantSize {
				t.Errorf("end %d, size %d; want %d, %d", r.end, fileSize(path), tt.wantEnd, tt.wantSize)
			}
		})
	}
}
