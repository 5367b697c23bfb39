package kv

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// waiter is a call of Next under way.
type waiter struct {
	events []Event
	upTo   int64
	err    error
	done   chan struct{}
}

// waitFor calls Next and returns when it waits.
func waitFor(ctx context.Context, t *testing.T, w *Watcher) *waiter {
	t.Helper()
	n := w.db.interests
	in, name := n.of(w)
	waiting := func() int {
		n.mu.Lock()
		defer n.mu.Unlock()
		if i := in[name]; i != nil {
			return i.waiting
		}
		return 0
	}
	before := waiting()
	call := &waiter{done: make(chan struct{})}
	go func() {
		defer close(call.done)
		call.events, call.upTo, call.err = w.Next(ctx)
	}()
	for waiting() == before {
		select {
		case <-call.done:
			t.Fatalf("Next has not waited: %v, %d, %v", call.events, call.upTo, call.err)
		default:
		}
	}
	return call
}

func (c *waiter) waits() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// keysOf waits for the end of the call and returns the keys of its events.
func (c *waiter) keysOf() (keys []string) {
	<-c.done
	for _, e := range c.events {
		keys = append(keys, e.Key)
	}
	return keys
}

// wantNobody sees that nothing is kept for watchers that do not wait.
func wantNobody(t *testing.T, db *DB) {
	t.Helper()
	if n := db.interests; len(n.keys)+len(n.prefixes) != 0 {
		t.Errorf("interests left behind: %v, %v", n.keys, n.prefixes)
	}
}

func TestOnlyWhomItConcernsIsWoken(t *testing.T) {
	for _, tc := range []struct {
		name    string
		watch   func(db *DB, after int64) (*Watcher, error)
		foreign []string
		own     string
	}{
		{"a key", func(db *DB, after int64) (*Watcher, error) { return db.WatchKey("/a/1", after) },
			[]string{"/a/10", "/a/1/x", "/a/", "/b/1", "/"}, "/a/1"},
		{"whole segments", func(db *DB, after int64) (*Watcher, error) { return db.Watch("/a/", after) },
			[]string{"/a", "/ab/1", "/b/a/", "a/"}, "/a/x/y"},
		{"part of a segment", func(db *DB, after int64) (*Watcher, error) { return db.Watch("/a/1", after) },
			[]string{"/b/1", "/a"}, "/a/10"},
		{"everything", func(db *DB, after int64) (*Watcher, error) { return db.Watch("", after) },
			nil, "x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			db := openTest(t, t.TempDir(), Options{})
			w, err := tc.watch(db, 1)
			if err != nil {
				t.Fatal(err)
			}
			call := waitFor(t.Context(), t, w)
			in, name := db.interests.of(w)
			asleep := in[name].wake
			for _, key := range tc.foreign {
				put(t, db, key, "v", 0)
			}
			db.interests.mu.Lock()
			if in[name].wake != asleep || !call.waits() {
				t.Error("woken by the writes of others")
			}
			db.interests.mu.Unlock()
			// Time goes on for who waits: compaction cannot overtake it.
			compact(t, db, db.Snapshot().Revision())
			rev := put(t, db, tc.own, "v", 0)
			if diff := cmp.Diff([]string{tc.own}, call.keysOf()); diff != "" || call.upTo != rev || call.err != nil {
				t.Errorf("up to %d, want %d, %v; events (-want +got):\n%s", call.upTo, rev, call.err, diff)
			}
			wantNobody(t, db)
		})
	}
}

func TestWaitingIsSharedAndEndsWithItsContext(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var calls [3]*waiter
	for i := range calls {
		w, err := db.Watch("/a/", 1)
		if err != nil {
			t.Fatal(err)
		}
		c := t.Context()
		if i == 0 {
			c = ctx
		}
		calls[i] = waitFor(c, t, w)
	}
	foreign := put(t, db, "/b/1", "v", 0)
	cancel()
	<-calls[0].done
	if c := calls[0]; !errors.Is(c.err, context.Canceled) || c.upTo != foreign {
		t.Errorf("a call that was given up: up to %d, %v; want %d", c.upTo, c.err, foreign)
	}
	own := put(t, db, "/a/1", "v", 0)
	for _, c := range calls[1:] {
		if keys := c.keysOf(); len(keys) != 1 || c.upTo != own {
			t.Errorf("got %v up to %d, %v", keys, c.upTo, c.err)
		}
	}
	wantNobody(t, db)
}

// TestEachKeyReachesItsWatcher has many watchers of one key each come and go
// while all keys are written and history is dropped.
func TestEachKeyReachesItsWatcher(t *testing.T) {
	const keys, writes = 20, 60
	db := openTest(t, t.TempDir(), Options{})
	var watchers, writers sync.WaitGroup
	for i := range keys {
		key := fmt.Sprintf("/a/%d", i)
		w, err := db.WatchKey(key, 1)
		if err != nil {
			t.Fatal(err)
		}
		watchers.Go(func() {
			last := int64(0)
			for seen := 0; seen < writes; {
				events, upTo, err := w.Next(t.Context())
				if err != nil {
					t.Errorf("%s: after %d events: %v", key, seen, err)
					return
				}
				for _, e := range events {
					if e.Key != key || e.PrevRev != last {
						t.Errorf("%s: event %+v does not follow revision %d", key, e, last)
					}
					last = e.Rev
				}
				if seen += len(events); upTo < last {
					t.Errorf("%s: up to %d after an event of %d", key, upTo, last)
				}
			}
		})
		writers.Go(func() {
			rev := int64(0)
			for range writes {
				rev = put(t, db, key, "v", rev)
			}
		})
	}
	writers.Wait()
	watchers.Wait()
	wantNobody(t, db)
}
