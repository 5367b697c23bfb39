package bolt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"arl.io/arl/pkg/storage/kv"
)

func mustPut(tb testing.TB, db *kv.DB, key string, value []byte) kv.Entry {
	tb.Helper()
	entry, err := db.Apply(tb.Context(), kv.Op{Key: key, Value: value})
	if err != nil {
		tb.Fatal(err)
	}
	return entry
}

func TestCompactionByAge(t *testing.T) {
	db := openDB(t, kv.Options{})
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	c := NewCompactor(CompactorConfig{DB: db, Clock: clk, Retention: 10 * time.Minute})
	step := func() int64 {
		t.Helper()
		if err := c.compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		return db.Stats().CompactedRevision
	}
	step()
	var want []int64
	for i := range 30 {
		rev := mustPut(t, db, fmt.Sprintf("key-%d", i), []byte("x")).ModRev
		want = append(want, rev)
		clk.Step(time.Minute)
		got := step()
		switch {
		case i < 10 && got >= want[0]:
			t.Fatalf("minute %d: revision %d is gone after less than the retention", i, got)
		case i >= 10 && got != want[i-10]:
			// A write is marked when the minute is over, and kept ten from then.
			t.Fatalf("minute %d: compacted up to %d, want %d", i, got, want[i-10])
		}
	}
	if n := len(c.marks); n > retentionMarks+1 {
		t.Errorf("remembers %d moments", n)
	}
}

// TestCompactionDuringABackup: age waits for a backup under way, size does not,
// and a backup that was overtaken fails.
func TestCompactionDuringABackup(t *testing.T) {
	for _, tc := range []struct {
		name      string
		maxBytes  int64
		overtaken bool
	}{{"by age", 0, false}, {"by size", 1 << 10, true}} {
		t.Run(tc.name, func(t *testing.T) {
			db := openDB(t, kv.Options{})
			clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
			c := NewCompactor(CompactorConfig{DB: db, Clock: clk, Retention: time.Minute, MaxLogBytes: tc.maxBytes})
			value := make([]byte, 1<<20)
			entries := []kv.Entry{mustPut(t, db, "a", value), mustPut(t, db, "b", value)}
			read, write := io.Pipe()
			done := make(chan error, 1)
			go func() {
				_, err := db.Backup(t.Context(), write, nil)
				done <- errors.Join(err, write.CloseWithError(err))
			}()
			eventually(t, "the backup is under way", func() bool { return db.Stats().BackupRevision != 0 })
			held := db.Stats().BackupRevision
			for range 3 {
				for i, e := range entries {
					var err error
					if entries[i], err = db.Apply(t.Context(), kv.Op{Key: e.Key, Value: value, Expect: e.ModRev}); err != nil {
						t.Fatal(err)
					}
				}
				if err := c.compact(t.Context()); err != nil {
					t.Fatal(err)
				}
				clk.Step(time.Minute)
			}
			if got := db.Stats().CompactedRevision; got > held != tc.overtaken {
				t.Errorf("compacted up to %d, the backup is of %d", got, held)
			}
			_, err := io.Copy(io.Discard, read)
			if err := errors.Join(err, <-done); tc.overtaken != errors.Is(err, kv.ErrCompacted) || !tc.overtaken && err != nil {
				t.Errorf("the backup ended with %v", err)
			}
			if held := db.Stats().BackupRevision; held != 0 {
				t.Errorf("revision %d is held after the backup", held)
			}
			if err := c.compact(t.Context()); err != nil || db.Stats().CompactedRevision < held {
				t.Errorf("after the backup: compacted up to %d, %v", db.Stats().CompactedRevision, err)
			}
		})
	}
}

func TestCompactionBySize(t *testing.T) {
	db := openDB(t, kv.Options{})
	const limit = 64 << 10
	c := NewCompactor(CompactorConfig{DB: db, Clock: clocktesting.NewFakeClock(time.Unix(1000, 0)), MaxLogBytes: limit})
	value := make([]byte, 1000)
	entry := mustPut(t, db, "key", value)
	for range 200 {
		var err error
		if entry, err = db.Apply(t.Context(), kv.Op{Key: "key", Value: value, Expect: entry.ModRev}); err != nil {
			t.Fatal(err)
		}
	}
	if before := db.Stats().LogBytes; before <= limit {
		t.Fatalf("the log takes %d bytes, too little for this test", before)
	}
	for range 10 {
		if err := c.compact(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	stats := db.Stats()
	if stats.LogBytes > limit || stats.LogBytes < limit/4 {
		t.Errorf("the log takes %d bytes, want at most %d and not much less than half", stats.LogBytes, limit)
	}
	if stats.Revision != entry.ModRev {
		t.Errorf("revision %d, want %d: compaction must not write", stats.Revision, entry.ModRev)
	}
}

func TestCompactorRun(t *testing.T) {
	db := openDB(t, kv.Options{})
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	runUntilCleanup(t, NewCompactor(CompactorConfig{DB: db, Clock: clk, Retention: time.Minute}).Run)
	rev := mustPut(t, db, "key", []byte("x")).ModRev
	eventually(t, "the write is compacted away", func() bool {
		clk.Step(sizePeriod)
		return db.Stats().CompactedRevision >= rev
	})
}

func TestLoopsEndWithTheDatabase(t *testing.T) {
	db, err := kv.Open(t.TempDir(), kv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, db, "key", []byte("x"))
	if _, err := db.Apply(t.Context(), kv.Op{Key: "expired", Value: []byte("x"), Expiry: 1, Tags: []uint64{expires}}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	compactor := NewCompactor(CompactorConfig{DB: db, MaxLogBytes: 1})
	for name, run := range map[string]func(context.Context) error{
		"compactor": compactor.Run,
		"expirer":   NewExpirer(db, nil).Run,
	} {
		if err := run(t.Context()); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("%s ended with %v, want %v", name, err, kv.ErrClosed)
		}
	}
}

func TestCompactorDefaults(t *testing.T) {
	c := NewCompactor(CompactorConfig{})
	if c.retention != DefaultRetention || c.maxBytes != DefaultMaxLogBytes || c.clock == nil {
		t.Errorf("got %+v", c)
	}
}
