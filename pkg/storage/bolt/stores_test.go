package bolt

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clocktesting "k8s.io/utils/clock/testing"

	"arl.io/arl/pkg/storage/kv"
)

func TestWatchStats(t *testing.T) {
	f := newFixture(t)
	stores := &Stores{}
	if got := stores.WatchStats(); len(got) != 0 {
		t.Errorf("of no store: %+v", got)
	}
	remove := stores.add(f.Store)
	pods := schema.GroupResource{Resource: "pods"}
	want := func(stats WatchStats) func() bool {
		return func() bool { return cmp.Equal([]WatchStats{stats}, stores.WatchStats()) }
	}
	if !want(WatchStats{Resource: pods})() {
		t.Errorf("without watches: %+v", stores.WatchStats())
	}
	slow, fast := f.mustWatch(t, watchAll("1", false)), f.mustWatch(t, watchAll("1", false))
	f.mustWatch(t, watchAll("1000000", false)) // ahead, which is no negative lag
	const writes = resultBuffer + 50
	for i := range writes {
		f.mustCreate(t, "ns", fmt.Sprintf("pod-%d", i))
		nextEvent(t, fast)
	}
	eventually(t, "the slow watch is behind", func() bool {
		got := stores.WatchStats()[0]
		// It is blocked with a batch of events of which the client has seen some.
		return got.Watches == 3 && got.Lag >= writes-resultBuffer-1 && got.Lag <= writes
	})
	for range writes {
		nextEvent(t, slow)
	}
	eventually(t, "all have caught up", want(WatchStats{Resource: pods, Watches: 3}))
	remove()
	if got := stores.WatchStats(); len(got) != 0 {
		t.Errorf("after the end: %+v", got)
	}
}

// TestLagOfAWatchThatWaited has a watch wait while others are written to: once
// it blocks on an event of its own, it is behind by that alone.
func TestLagOfAWatchThatWaited(t *testing.T) {
	needsBuffer(t)
	f := newFixture(t)
	stores := &Stores{}
	stores.add(f.Store)
	opts := watchAll("1", false)
	w, err := f.Watch(t.Context(), "/pods/mine", opts)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for i := range resultBuffer {
		f.mustCreate(t, "mine", fmt.Sprintf("pod-%d", i))
	}
	eventually(t, "the buffer is full", func() bool { return len(w.ResultChan()) == resultBuffer })
	const others = 300
	for i := range others {
		f.mustCreate(t, "others", fmt.Sprintf("pod-%d", i))
	}
	f.mustCreate(t, "mine", "one-too-many")
	eventually(t, "the watch blocks", func() bool { return stores.WatchStats()[0].Lag > 0 })
	if got := stores.WatchStats()[0].Lag; got != 1 {
		t.Errorf("the watch is behind by %d, want 1", got)
	}
}

func TestStoresKnowWhatTheDecoratorMade(t *testing.T) {
	stores := &Stores{}
	c := podConfig(openDB(t, kv.Options{}))
	r := newRegistryOn(t, Backend{DB: c.DB, Stores: stores}, nil)
	if got := stores.WatchStats(); len(got) != 1 || got[0].Resource.Resource != "pods" {
		t.Errorf("got %+v", got)
	}
	r.Destroy()
	if got := stores.WatchStats(); len(got) != 0 {
		t.Errorf("after the end: %+v", got)
	}
}

func TestCompactorTellsOfCompactions(t *testing.T) {
	db := openDB(t, kv.Options{})
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	var told []error
	c := NewCompactor(CompactorConfig{DB: db, Clock: clk, MaxLogBytes: 1, OnCompact: func(took time.Duration, err error) {
		if took != 0 {
			t.Errorf("took %s though no time has passed", took)
		}
		told = append(told, err)
	}})
	mustPut(t, db, "key", nil)
	if err := c.compact(t.Context()); err != nil || len(told) != 1 || told[0] != nil {
		t.Errorf("%v, told %v", err, told)
	}
	mustPut(t, db, "other", nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.compact(ctx); err == nil || len(told) != 1 {
		t.Errorf("by the end of the context: %v, told %v", err, told)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.compact(t.Context()); !errors.Is(err, kv.ErrClosed) || len(told) != 2 || !errors.Is(told[1], kv.ErrClosed) {
		t.Errorf("of a closed database: %v, told %v", err, told)
	}
}
