package bolt

import (
	"context"
	"errors"
	"fmt"
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
	if _, err := db.Apply(t.Context(), kv.Op{Key: "expired", Value: []byte("x"), Expiry: 1}); err != nil {
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
