package kv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// TestWatchersReplay lets watchers that start anywhere rebuild the content
// from a snapshot and events, while writers write and the log is compacted.
// Events must come without a gap, twice, or out of order.
func TestWatchersReplay(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	const writers, writes, watchers = 8, 300, 12
	const last = int64(1 + writers*writes)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() { writeRandomly(t, db, i, writes) })
	}
	wg.Go(func() {
		for rev := int64(100); rev < last; rev += 100 {
			if err := db.WaitRevision(t.Context(), rev); err != nil {
				t.Errorf("WaitRevision: %v", err)
				return
			}
			if err := db.Compact(t.Context(), rev-50); err != nil {
				t.Errorf("Compact: %v", err)
			}
		}
	})
	final := make([][]Entry, watchers)
	for i := range watchers {
		wg.Go(func() {
			if err := db.WaitRevision(t.Context(), last*int64(i)/watchers); err != nil {
				t.Errorf("WaitRevision: %v", err)
				return
			}
			final[i] = replay(t, db, last)
		})
	}
	wg.Wait()
	want := dump(db.Snapshot())
	for i := range final {
		if diff := diff(want, final[i]); diff != "" {
			t.Fatalf("watcher %d (-want +got):\n%s", i, diff)
		}
	}
}

// writeRandomly does n writes to keys of its own.
func writeRandomly(t *testing.T, db *DB, writer, n int) {
	rnd := rand.New(rand.NewPCG(uint64(writer), 1))
	revs := map[string]int64{}
	for i := range n {
		key := fmt.Sprintf("/%d/%d", writer, rnd.IntN(10))
		op := Op{Key: key, Value: fmt.Append(nil, i), Expect: revs[key], Delete: revs[key] != 0 && rnd.IntN(3) == 0}
		e, err := db.Apply(t.Context(), op)
		if err != nil {
			t.Errorf("Apply: %v", err)
			return
		}
		revs[key] = e.ModRev
		if op.Delete {
			revs[key] = 0
		}
	}
}

// replay returns the content at revision last, from a snapshot and events;
// when overtaken by compaction it starts again, as an informer would.
func replay(t *testing.T, db *DB, last int64) []Entry {
	for {
		s := db.Snapshot()
		content := newTree()
		for _, e := range dump(s) {
			content.replace(nil, &e)
		}
		err := follow(t, db, content, s.Revision(), last)
		if err == nil {
			return dump(Snapshot{tree: content})
		}
		if !errors.Is(err, ErrCompacted) {
			t.Errorf("watch: %v", err)
			return nil
		}
	}
}

func follow(t *testing.T, db *DB, content *tree, rev, last int64) error {
	w, err := db.Watch("", rev)
	if err != nil {
		return err
	}
	for rev < last {
		events, upTo, err := w.Next(t.Context())
		if err != nil {
			return err
		}
		for _, ev := range events {
			rev++
			if ev.Rev != rev {
				return fmt.Errorf("event of revision %d, want %d", ev.Rev, rev)
			}
			if err := ev.checkAndApply(content); err != nil {
				return err
			}
		}
		if upTo != rev {
			return fmt.Errorf("up to %d after the event of %d", upTo, rev)
		}
	}
	return nil
}

// checkAndApply checks an event against what it is to change.
func (e Event) checkAndApply(content *tree) error {
	prev, exists := content.get(e.Key)
	if exists != (e.PrevRev != 0) || exists && (prev.ModRev != e.PrevRev || string(prev.Value) != string(e.PrevValue)) {
		return fmt.Errorf("event %+v does not follow from %+v", e, prev)
	}
	if e.Delete {
		content.replace(prev, nil)
	} else {
		content.replace(prev, &Entry{Key: e.Key, Value: e.Value, CreateRev: e.CreateRev, ModRev: e.Rev})
	}
	return nil
}

func TestWatchStalled(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	rev := put(t, db, "a", "1", 0)
	w, err := db.Watch("", rev)
	if err != nil {
		t.Fatal(err)
	}
	rev = put(t, db, "a", "2", rev)
	compact(t, db, rev)
	_, _, err = w.Next(t.Context())
	wantErr(t, "Next", err, ErrCompacted)
	_, err = db.Watch("", rev-1)
	wantErr(t, "Watch", err, ErrCompacted)
	if _, err := db.Watch("", rev); err != nil {
		t.Errorf("Watch from the compacted revision: %v", err)
	}
}

func TestWatchPrefixAndBookmarks(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	w, err := db.Watch("a/", 0)
	if err != nil {
		t.Fatal(err)
	}
	events, upTo, err := w.Next(t.Context())
	if len(events) != 0 || upTo != 1 || err != nil {
		t.Fatalf("creation of the database: got %v, %d, %v; want nothing up to 1", events, upTo, err)
	}
	put(t, db, "b/1", "x", 0)
	events, upTo, err = w.Next(t.Context())
	if len(events) != 0 || upTo != 2 || err != nil {
		t.Fatalf("other prefix: got %v, %d, %v; want nothing up to 2", events, upTo, err)
	}
	put(t, db, "a/1", "y", 0)
	remove(t, db, "a/1", 3)
	events, upTo, err = w.Next(t.Context())
	want := []Event{
		{Rev: 3, Key: "a/1", Value: []byte("y"), CreateRev: 3},
		{Rev: 4, Key: "a/1", Delete: true, PrevValue: []byte("y"), CreateRev: 3, PrevRev: 3},
	}
	if diff := diff(want, events); diff != "" || upTo != 4 || err != nil {
		t.Fatalf("got up to %d, error %v (-want +got):\n%s", upTo, err, diff)
	}
}

func TestWatchFuture(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	w, err := db.Watch("", 3)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for i := range 3 {
			if _, err := db.Apply(context.Background(), Op{Key: keyN(i)}); err != nil {
				t.Errorf("Apply: %v", err)
			}
		}
	}()
	events, upTo, err := w.Next(t.Context())
	if err != nil || len(events) != 1 || events[0].Rev != 4 || upTo != 4 {
		t.Errorf("got %v, %d, %v; want the event of revision 4 only", events, upTo, err)
	}
}

func TestWatchContext(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	w, err := db.Watch("", 1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, _, err := w.Next(ctx)
		done <- err
	}()
	eventually(t, "the watcher waits", func() bool { return db.Stats().Watchers == 1 })
	cancel()
	wantErr(t, "Next", <-done, context.Canceled)
	put(t, db, "a", "1", 0)
	events, _, err := w.Next(t.Context())
	if err != nil || len(events) != 1 {
		t.Errorf("Next after one that was cut short: %v, %v; want one event", events, err)
	}
}

// TestWatchBounded checks that a watcher far behind gets its events in portions.
func TestWatchBounded(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	fill(t, db, maxEvents+10)
	w, err := db.Watch("/arl.io", 0)
	if err != nil {
		t.Fatal(err)
	}
	first, upTo, err := w.Next(t.Context())
	if err != nil || len(first) != maxEvents || upTo != first[maxEvents-1].Rev {
		t.Fatalf("first portion: %d events up to %d, %v", len(first), upTo, err)
	}
	rest, upTo, err := w.Next(t.Context())
	if err != nil || len(rest) != 10 || rest[0].Rev != first[maxEvents-1].Rev+1 || upTo != db.Snapshot().Revision() {
		t.Fatalf("second portion: %d events up to %d, %v", len(rest), upTo, err)
	}
	if !strings.HasPrefix(rest[0].Key, "/arl.io") {
		t.Errorf("event of key %q", rest[0].Key)
	}
}
