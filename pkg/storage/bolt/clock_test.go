package bolt

import (
	"fmt"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"arl.io/arl/pkg/storage/kv"
)

// TestCompactionWhenTheClockIsSetBack sets the clock back by an hour. No
// history goes before it is as old as the retention, on whichever clock; and
// from one retention after the jump on, compaction goes on as ever.
func TestCompactionWhenTheClockIsSetBack(t *testing.T) {
	const retention = 10
	db := openDB(t, kv.Options{})
	clk := clocktesting.NewFakeClock(time.Unix(1e6, 0))
	c := NewCompactor(CompactorConfig{DB: db, Clock: clk, Retention: retention * time.Minute})
	var revs []int64 // of each minute
	minute := func() (compacted int64) {
		t.Helper()
		revs = append(revs, mustPut(t, db, fmt.Sprintf("key-%d", len(revs)), []byte("x")).ModRev)
		clk.Step(time.Minute)
		if err := c.compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		return db.Stats().CompactedRevision
	}
	for range 15 {
		minute()
	}
	atJump := db.Stats().CompactedRevision
	clk.SetTime(clk.Now().Add(-time.Hour))
	for i := range 3 * retention {
		got := minute()
		switch {
		case i+1 < retention && got != atJump:
			t.Fatalf("%d minutes after the jump: compacted up to %d, want %d as before it", i+1, got, atJump)
		case i > retention && got != revs[len(revs)-1-retention]:
			t.Fatalf("%d minutes after the jump: compacted up to %d, want %d", i+1, got, revs[len(revs)-1-retention])
		}
	}
	if n := len(c.marks); n > 2*retentionMarks+1 {
		t.Errorf("remembers %d moments", n)
	}
	if n := db.Stats().Keys; n != len(revs) {
		t.Errorf("%d objects are left, want %d", n, len(revs))
	}
}

// TestExpiryWhenTheClockIsSetBack sets the clock back by an hour while an
// object is about to expire: it lives until the clock says so again.
func TestExpiryWhenTheClockIsSetBack(t *testing.T) {
	f, clk := ttlFixture(t)
	f.createWithTTL(t, "mortal", 30)
	f.createWithTTL(t, "immortal", 0)
	w := f.mustWatch(t, watchAll(f.currentRV(), false))
	eventually(t, "the expirer waits", clk.HasWaiters)

	clk.SetTime(time.Unix(1000-3600, 0))
	f.createWithTTL(t, "later", 60) // has the expirer look at the clock
	if pod := nextEvent(t, w); pod.Type != "ADDED" {
		t.Fatalf("after the jump: %v", pod)
	}
	clk.SetTime(time.Unix(1000-3600+59, 0))
	for _, name := range []string{"mortal", "immortal", "later"} {
		if !f.exists("/pods/ns/" + name) {
			t.Errorf("%s is gone", name)
		}
	}
	for _, step := range []struct {
		at   int64
		name string
	}{{1000 - 3600 + 60, "later"}, {1030, "mortal"}} {
		eventually(t, "the expirer waits", clk.HasWaiters)
		clk.SetTime(time.Unix(step.at, 0))
		if event := nextEvent(t, w); event.Type != "DELETED" || f.exists("/pods/ns/"+step.name) {
			t.Errorf("at %d: %v, want %s deleted", step.at, event, step.name)
		}
	}
	if !f.exists("/pods/ns/immortal") {
		t.Error("the immortal is gone")
	}
}
