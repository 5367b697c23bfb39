package consistency

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// bookmarkPeriod is short, for bookmarks at all points of a history.
const bookmarkPeriod = 5 * time.Millisecond

// TestWatches has watches of all kinds run beside writers and compaction, and
// then compares each, event for event, with what the writers were told.
func TestWatches(t *testing.T) {
	total, n := 4000, 50
	if testing.Short() {
		total, n = 1000, 20
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	store := newStore(t, bookmarkPeriod)
	end := &theEndOfWrites{done: make(chan struct{})}
	watchers := newWatchers(t, store, end, n, seed)
	ctx := waiting(t)
	watching, watchCtx := errgroup.WithContext(ctx)
	for _, w := range watchers {
		watching.Go(func() error { return w.run(watchCtx) })
	}
	writers := &writers{store: store}
	if err := writeAndCompact(watchCtx, writers, total, seed); err != nil {
		t.Error(err)
	}
	if err := writers.past.complete(); err != nil {
		t.Error(err)
	}
	end.rev = writers.past.newest()
	close(end.done)
	if err := watching.Wait(); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		return
	}
	verifyWatchers(t, watchers, &writers.past)
}

// newWatchers returns watchers of all combinations of key and selectors.
func newWatchers(t *testing.T, store *podStore, end *theEndOfWrites, n int, seed uint64) []*watcher {
	t.Helper()
	ws := make([]*watcher, n)
	for i := range ws {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		sel := selection{}
		if i%4 != 0 {
			sel.Namespace = namespaces[i%len(namespaces)]
		}
		if i%8 == 1 {
			sel.Name = keyName(random.IntN(podsPerNamespace))
		}
		if i%3 == 1 {
			sel.Color = colors[i%len(colors)]
		}
		if i%5 == 2 {
			sel.Node = nodes[1]
		}
		ws[i] = &watcher{
			tb: t, store: store, random: random, number: i, sel: sel, end: end, begun: map[beginning]int{},
			// Only a watch of everything is sure to be told of the last write by an event.
			bookmarks: i%4 != 0 || sel != selection{},
		}
	}
	return ws
}

// writeAndCompact runs writers and compaction until so many writes are done,
// and one more that every watch of everything is told of.
func writeAndCompact(ctx context.Context, w *writers, total int, seed uint64) error {
	group, groupCtx := errgroup.WithContext(ctx)
	for i := range 6 {
		random := rand.New(rand.NewPCG(seed, 1000+uint64(i)))
		group.Go(func() error { return w.run(groupCtx, random, total) })
	}
	group.Go(func() error {
		random := rand.New(rand.NewPCG(seed, 2000))
		for next := 0; next < total; next += 1 + random.IntN(200) {
			if err := eventually(groupCtx, "some more writes", func() bool { return w.past.len() >= next }); err != nil {
				return err
			}
			target := w.store.db.Snapshot().Revision() - random.Int64N(300)
			if err := w.store.db.Compact(groupCtx, max(1, target)); err != nil {
				return fmt.Errorf("compact to %d: %w", target, err)
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return err
	}
	last := w.randomPod(rand.New(rand.NewPCG(seed, 3000)), namespaces[0], "last")
	return w.create(ctx, last)
}

// verifyWatchers compares the sessions with the past, and the replicas with
// its end, and sees that there was something to compare.
func verifyWatchers(t *testing.T, watchers []*watcher, p *past) {
	t.Helper()
	events, expired := 0, 0
	begun := map[beginning]int{}
	for i, w := range watchers {
		for _, s := range w.sessions {
			if err := s.verify(p); err != nil {
				t.Errorf("watcher %d: %v", i, err)
			}
			events += len(s.events)
		}
		if err := sameState(w.replica, p.at(w.sel, p.newest())); err != nil {
			t.Errorf("watcher %d of %+v ends and %v", i, w.sel, err)
		}
		expired += w.expired
		for how, n := range w.begun {
			begun[how] += n
		}
	}
	t.Logf("%d writes, %d events; %d times expired; watches begun: %v", len(p.writes), events, expired, begun)
	for _, how := range []beginning{fromNothing, fromList, fromRecent, fromWatchList, resumed} {
		if begun[how] == 0 {
			t.Errorf("no watch was begun %s", how)
		}
	}
	if expired == 0 || events < len(p.writes) {
		t.Errorf("%d times expired and %d events show little", expired, events)
	}
}
