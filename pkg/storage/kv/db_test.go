package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestApplyPreconditions(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	a := put(t, db, "a", "1", 0)
	tests := []struct {
		name string
		op   Op
		want *ConflictError
	}{
		{"create of what exists", Op{Key: "a"}, &ConflictError{Key: "a", Exists: true}},
		{"update of an older revision", Op{Key: "a", Expect: a - 1}, &ConflictError{Key: "a", Exists: true}},
		{"update of a newer revision", Op{Key: "a", Expect: a + 1}, &ConflictError{Key: "a", Exists: true}},
		{"update of what is not there", Op{Key: "b", Expect: a}, &ConflictError{Key: "b"}},
		{"delete of another revision", Op{Key: "a", Delete: true, Expect: a + 1}, &ConflictError{Key: "a", Exists: true}},
		{"delete of what is not there", Op{Key: "b", Delete: true, Expect: a}, &ConflictError{Key: "b"}},
		{"delete that expects nothing, of nothing", Op{Key: "b", Delete: true}, &ConflictError{Key: "b"}},
		{"delete that expects nothing, of something", Op{Key: "a", Delete: true}, &ConflictError{Key: "a", Exists: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want.Exists {
				tt.want.Current = Entry{Key: "a", Value: []byte("1"), CreateRev: a, ModRev: a}
			}
			_, err := db.Apply(t.Context(), tt.op)
			wantErr(t, "Apply", err, ErrConflict)
			if diff := diff(error(tt.want), err); diff != "" {
				t.Errorf("Apply error (-want +got):\n%s", diff)
			}
			if !strings.Contains(err.Error(), strconv.Quote(tt.op.Key)) {
				t.Errorf("error %q does not name the key", err)
			}
			if got := db.Snapshot().Revision(); got != a {
				t.Errorf("revision moved from %d to %d", a, got)
			}
		})
	}
}

func TestApplySizes(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{MaxValueBytes: 10})
	tests := []struct {
		name string
		op   Op
		want error
	}{
		{"no key", Op{}, ErrTooLarge},
		{"longest key", Op{Key: strings.Repeat("k", maxKeyBytes)}, nil},
		{"key too long", Op{Key: strings.Repeat("k", maxKeyBytes+1)}, ErrTooLarge},
		{"largest value", Op{Key: "v", Value: make([]byte, 10)}, nil},
		{"value too large", Op{Key: "w", Value: make([]byte, 11)}, ErrTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := db.Apply(t.Context(), tt.op)
			wantErr(t, "Apply", err, tt.want)
		})
	}
}

func TestApplyContextEndedBefore(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := db.Apply(ctx, Op{Key: "a"})
	wantErr(t, "Apply", err, context.Canceled)
	if _, ok := db.Snapshot().Get("a"); ok {
		t.Error("the write was done all the same")
	}
}

// TestRaceForOneKey has many writers create, update and delete one key: at
// each revision exactly one wins, and each loser learns what beat it.
func TestRaceForOneKey(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{MaxBatch: 8})
	const writers, wins = 16, 20
	var wg sync.WaitGroup
	revs := make([][]int64, writers)
	for i := range writers {
		wg.Go(func() {
			var expect int64
			for len(revs[i]) < wins {
				e, err := db.Apply(t.Context(), Op{Key: "k", Value: fmt.Appendf(nil, "%d", i), Expect: expect, Delete: expect%3 == 2})
				var conflict *ConflictError
				switch {
				case err == nil:
					revs[i] = append(revs[i], e.ModRev)
					expect = e.ModRev
					if _, ok := db.Snapshot().Get("k"); !ok {
						expect = 0
					}
				case errors.As(err, &conflict):
					expect = conflict.Current.ModRev
				default:
					t.Errorf("Apply: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	seen := map[int64]bool{}
	for _, list := range revs {
		for _, rev := range list {
			if seen[rev] {
				t.Errorf("revision %d was given out twice", rev)
			}
			seen[rev] = true
		}
	}
	if got := db.Snapshot().Revision(); got != 1+writers*wins || len(seen) != writers*wins {
		t.Errorf("revision %d after %d writes", got, len(seen))
	}
}

func TestSnapshotReads(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	for _, key := range []string{"a/1", "a/2", "a/3", "b/1", "a0"} {
		put(t, db, key, key, 0)
	}
	held := db.Snapshot()
	e, _ := held.Get("a/2")
	remove(t, db, "a/2", e.ModRev)
	tests := []struct {
		prefix, from string
		limit        int
		want         []string
	}{
		{"", "", 9, []string{"a/1", "a/2", "a/3", "a0", "b/1"}},
		{"a/", "", 9, []string{"a/1", "a/2", "a/3"}},
		{"a/", "a/2", 9, []string{"a/2", "a/3"}},
		{"a/", "a/2\x00", 1, []string{"a/3"}},
		{"a/", "b", 9, nil},
		{"c", "", 9, nil},
	}
	for _, tt := range tests {
		t.Run(tt.prefix+" from "+tt.from, func(t *testing.T) {
			var got []string
			held.Ascend(tt.prefix, tt.from, func(e Entry) bool {
				got = append(got, e.Key)
				return len(got) < tt.limit
			})
			if diff := diff(tt.want, got); diff != "" {
				t.Errorf("Ascend (-want +got):\n%s", diff)
			}
		})
	}
	for prefix, want := range map[string]int64{"": 5, "a": 4, "a/": 3, "c": 0} {
		if got := held.Count(prefix); got != want {
			t.Errorf("Count(%q) = %d, want %d", prefix, got, want)
		}
	}
	if got := db.Snapshot().Count("a/"); got != 2 {
		t.Errorf("the newest snapshot has %d keys below a/, want 2", got)
	}
}

func TestSnapshotOutlivesCompactionAndClose(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	rev := put(t, db, "a", "old", 0)
	old := db.Snapshot()
	compact(t, db, put(t, db, "a", "new", rev))
	closeTest(t, db)
	if e, ok := old.Get("a"); !ok || string(e.Value) != "old" {
		t.Errorf("Get = %+v, %v", e, ok)
	}
}

func TestClosed(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	rev := put(t, db, "a", "1", 0)
	w, err := db.Watch("", rev)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 2)
	go func() {
		_, _, err := w.Next(context.Background())
		waiting <- err
	}()
	go func() { waiting <- db.WaitRevision(context.Background(), rev+1) }()
	eventually(t, "the watcher waits", func() bool { return db.Stats().Watchers == 1 })
	closeTest(t, db)
	for range 2 {
		wantErr(t, "waiting call", <-waiting, ErrClosed)
	}
	_, err = db.Apply(t.Context(), Op{Key: "b"})
	wantErr(t, "Apply", err, ErrClosed)
	wantErr(t, "Compact", db.Compact(t.Context(), rev), ErrClosed)
	if db.Err() != nil {
		t.Errorf("Err = %v, want nil", db.Err())
	}
	if s := db.Stats(); s.Keys != 1 || s.LogFileBytes == 0 || s.StateFileBytes == 0 {
		t.Errorf("Stats = %+v", s)
	}
	if _, err := db.SnapshotAt(t.Context(), rev); err != nil {
		t.Errorf("SnapshotAt: %v", err)
	}
}

// TestCloseUnderLoad checks that no call hangs, and that what was
// acknowledged before the end is there after it.
func TestCloseUnderLoad(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, dir, Options{})
	var wg sync.WaitGroup
	acked := make([]int64, 8)
	for i := range acked {
		wg.Go(func() {
			for {
				e, err := db.Apply(t.Context(), Op{Key: keyN(i), Expect: acked[i]})
				if err != nil {
					wantErr(t, "Apply", err, ErrClosed)
					return
				}
				acked[i] = e.ModRev
			}
		})
	}
	wg.Go(func() {
		for {
			if err := db.Compact(t.Context(), db.Snapshot().Revision()); err != nil {
				wantErr(t, "Compact", err, ErrClosed)
				return
			}
		}
	})
	if err := db.WaitRevision(t.Context(), 500); err != nil {
		t.Fatal(err)
	}
	closeTest(t, db)
	wg.Wait()
	s := openTest(t, dir, Options{}).Snapshot()
	for i, rev := range acked {
		if e, _ := s.Get(keyN(i)); e.ModRev != rev {
			t.Errorf("%s is at %d after reopen, was acknowledged at %d", keyN(i), e.ModRev, rev)
		}
	}
}

func TestWaitRevision(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	if err := db.WaitRevision(t.Context(), 1); err != nil {
		t.Errorf("WaitRevision of the present: %v", err)
	}
	done := make(chan error)
	go func() { done <- db.WaitRevision(context.Background(), 3) }()
	rev := put(t, db, "a", "1", 0)
	put(t, db, "a", "2", rev)
	if err := <-done; err != nil {
		t.Errorf("WaitRevision: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, "WaitRevision", db.WaitRevision(ctx, 99), context.Canceled)
}

func TestOnCommit(t *testing.T) {
	commits := make(chan CommitStats, 100)
	db := openTest(t, t.TempDir(), Options{OnCommit: func(s CommitStats) { commits <- s }})
	rev := put(t, db, "a", "1", 0)
	if s := <-commits; s.Writes != 1 || s.Revision != rev || s.Bytes == 0 || s.WriteTime <= 0 {
		t.Errorf("after a write: %+v", s)
	}
	compact(t, db, rev)
	if s := <-commits; s.Trimmed != 2 || s.Writes != 0 {
		t.Errorf("after a compaction: %+v", s)
	}
}

// TestCommitStats looks at what is told of writes that are made and refused, by
// a clock on which a second passes between any two looks.
func TestCommitStats(t *testing.T) {
	var now atomic.Int64
	commits := make(chan CommitStats, 100)
	low := atomic.Bool{}
	db := openTest(t, t.TempDir(), Options{
		MinFreeBytes: 1 << 30,
		FreeBytes: func(string) (uint64, error) {
			if low.Load() {
				return 1<<30 - 1, nil
			}
			return 1 << 40, nil
		},
		Now: func() time.Time { return time.Unix(now.Add(1), 0) },
		OnCommit: func(s CommitStats) {
			s.QueueWaits = slices.Clone(s.QueueWaits)
			commits <- s
		},
	})
	second := []time.Duration{time.Second}
	ignore := cmpopts.IgnoreFields(CommitStats{}, "Bytes", "WriteTime")
	check := func(what string, want CommitStats) {
		t.Helper()
		if diff := cmp.Diff(want, <-commits, ignore); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	rev := put(t, db, "a", "1", 0)
	check("a write", CommitStats{Revision: rev, Writes: 1, QueueWaits: second, Duration: time.Second})
	_, err := db.Apply(t.Context(), Op{Key: "a", Value: []byte("2")})
	wantErr(t, "create again", err, ErrConflict)
	check("a conflict", CommitStats{Revision: rev, Conflicts: 1, QueueWaits: second})
	low.Store(true)
	_, err = db.Apply(t.Context(), Op{Key: "b", Value: []byte("1")})
	wantErr(t, "create without space", err, ErrNoSpace)
	check("no space", CommitStats{Revision: rev, NoSpace: 1, QueueWaits: second})
}
