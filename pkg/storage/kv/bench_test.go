package kv

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// benchValue is of the size of a task object.
var benchValue = bytes.Repeat([]byte("v"), 1500)

// BenchmarkApply measures durable writes, half of them creates and half
// updates, while the log is compacted as a server would.
func BenchmarkApply(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			db, err := Open(b.TempDir(), Options{})
			if err != nil {
				b.Fatal(err)
			}
			stop := compactBySize(b, db)
			b.ResetTimer()
			start := time.Now()
			latencies := applyFrom(b, db, writers)
			elapsed := time.Since(start)
			b.StopTimer()
			stop()
			if err := db.Close(); err != nil {
				b.Fatal(err)
			}
			slices.Sort(latencies)
			n := len(latencies)
			b.ReportMetric(float64(n)/elapsed.Seconds(), "writes/s")
			b.ReportMetric(float64(latencies[n/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(latencies[n*99/100].Microseconds()), "p99-µs")
		})
	}
}

// compactBySize keeps the log below 64 MB until stop is called.
func compactBySize(b *testing.B, db *DB) (stop func()) {
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for rev := int64(0); db.WaitRevision(ctx, rev+5000) == nil; {
			s := db.Stats()
			rev = s.Revision
			if s.LogRecordBytes < 64<<20 {
				continue
			}
			if err := db.Compact(ctx, rev-5000); err != nil && ctx.Err() == nil {
				b.Error(err)
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

func applyFrom(b *testing.B, db *DB, writers int) []time.Duration {
	var wg sync.WaitGroup
	all := make([][]time.Duration, writers)
	for i := range writers {
		n := b.N/writers + 1
		wg.Go(func() {
			var rev int64
			for j := range n {
				if j%2 == 0 {
					rev = 0
				}
				start := time.Now()
				e, err := db.Apply(b.Context(), Op{Key: fmt.Sprintf("/tasks/%d/%d", i, j/2), Value: benchValue, Expect: rev})
				if err != nil {
					b.Error(err)
					return
				}
				all[i] = append(all[i], time.Since(start))
				rev = e.ModRev
			}
		})
	}
	wg.Wait()
	return slices.Concat(all...)
}

// BenchmarkOpen measures Open with 100k objects of 2 KB, all of them in the
// log or all of them in the state.
func BenchmarkOpen(b *testing.B) {
	const objects = 100_000
	dir := b.TempDir()
	db, err := Open(dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	fill(b, db, objects)
	for _, where := range []string{"log", "state"} {
		if where == "state" {
			start := time.Now()
			if err := db.Compact(b.Context(), db.Snapshot().Revision()); err != nil {
				b.Fatal(err)
			}
			b.Logf("compaction of %d objects: %v", objects, time.Since(start))
			eventually(b, "log is trimmed", func() bool { return logRecords(b, db) == 0 })
		}
		b.Run(where, func(b *testing.B) {
			for range b.N {
				if err := db.Close(); err != nil {
					b.Fatal(err)
				}
				if db, err = Open(dir, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	if n := db.Snapshot().Count(""); n != objects {
		b.Errorf("%d objects after all, want %d", n, objects)
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
}

func fill(tb testing.TB, db *DB, objects int) {
	value := bytes.Repeat([]byte("v"), 2000)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for j := i; j < objects; j += 64 {
				if _, err := db.Apply(tb.Context(), Op{Key: fmt.Sprintf("/arl.io/tasks/default/%08d", j), Value: value}); err != nil {
					tb.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
