package consistency

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
	clocktesting "k8s.io/utils/clock/testing"

	"arl.io/arl/pkg/storage/bolt"
)

// stalled is a watch that nobody reads until the end.
type stalled struct {
	how    beginning
	w      *watcher
	s      *session
	stream watch.Interface
}

// TestStalledWatches leaves watches unread while writers go on and compaction
// bounds the memory of history. The writers finish, history keeps to its bound,
// and each of those watches shows what came first, without a hole, and then
// that the rest is gone.
func TestStalledWatches(t *testing.T) {
	const maxLogBytes = 256 << 10
	writes := 2000
	if testing.Short() {
		writes = 1000
	}
	store := newStore(t, bookmarkPeriod)
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	compactor := bolt.NewCompactor(bolt.CompactorConfig{DB: store.db, Clock: clock, MaxLogBytes: maxLogBytes})
	compacting, stopCompactor := context.WithCancel(t.Context())
	compactorDone := make(chan error, 1)
	go func() { compactorDone <- compactor.Run(compacting) }()
	defer func() {
		stopCompactor()
		if err := <-compactorDone; err != nil {
			t.Errorf("compactor: %v", err)
		}
	}()

	ctx := waiting(t)
	random := rand.New(rand.NewPCG(1, 2))
	w := &writers{store: store, padding: strings.Repeat("x", 2<<10)}
	if err := w.run(ctx, random, 200); err != nil {
		t.Fatal(err)
	}
	watches := stall(ctx, t, store)
	for n := 200; n < writes; n += 50 {
		if err := w.run(ctx, random, n+50); err != nil {
			t.Fatal(err)
		}
		if err := eventually(ctx, "history takes no more memory than it may", func() bool {
			clock.Step(time.Second)
			return store.db.Stats().LogBytes <= maxLogBytes
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.past.complete(); err != nil {
		t.Fatal(err)
	}
	events := 0
	for _, v := range watches {
		if err := v.unread(ctx, &w.past); err != nil {
			t.Errorf("stalled watch of %+v begun %s: %v", v.s.sel, v.how, err)
		}
		events += len(v.s.events)
	}
	t.Logf("%d watches showed %d events before 410", len(watches), events)
	if events == 0 {
		t.Error("no watch showed anything but 410")
	}
}

// stall begins watches of several kinds, and reads none.
func stall(ctx context.Context, t *testing.T, store *podStore) (all []stalled) {
	t.Helper()
	selections := []selection{{}, {Namespace: namespaces[0]}, {Color: colors[0]}}
	for i, how := range []beginning{fromNothing, fromList, fromRecent, fromWatchList} {
		for j, sel := range selections {
			w := &watcher{
				tb: t, store: store, sel: sel, bookmarks: j%2 == 0,
				random: rand.New(rand.NewPCG(uint64(i), uint64(j))),
			}
			s, stream, err := w.begin(ctx, how)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(stream.Stop)
			all = append(all, stalled{how: how, w: w, s: s, stream: stream})
		}
	}
	return all
}

// unread reads a watch to its end, which must be 410, and compares it with the past.
func (v stalled) unread(ctx context.Context, p *past) error {
	for !v.s.expired {
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %d events, without 410: %w", len(v.s.events), ctx.Err())
		case e, open := <-v.stream.ResultChan():
			if !open {
				return fmt.Errorf("the watch ended without 410 after %d events", len(v.s.events))
			}
			if e.Type == watch.Error {
				if err := apierrors.FromObject(e.Object); !apierrors.IsResourceExpired(err) {
					return err
				}
				v.s.expired = true
				continue
			}
			if err := v.w.take(v.s, e); err != nil {
				return err
			}
		}
	}
	if _, open := <-v.stream.ResultChan(); open {
		return fmt.Errorf("something follows 410")
	}
	return v.s.verify(p)
}
