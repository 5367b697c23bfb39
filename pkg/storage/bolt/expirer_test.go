package bolt

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/storage/kv"
)

// ttlFixture is a store whose clock stands still, and whose expirer does not run.
func ttlFixture(t *testing.T) (*fixture, *clocktesting.FakeClock) {
	t.Helper()
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	return newFixture(t, func(c *Config) {
		c.Clock = clk
		c.Expirer = NewExpirer(c.DB, clk)
	}), clk
}

func (f *fixture) createWithTTL(t *testing.T, name string, ttl uint64) {
	t.Helper()
	pod := &example.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
	if err := f.Create(t.Context(), podKey(pod), pod, nil, ttl); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) exists(key string) bool {
	_, found := f.db.Snapshot().Get(key)
	return found
}

func TestExpiryToTheSecond(t *testing.T) {
	f, clk := ttlFixture(t)
	f.createWithTTL(t, "long", 30)
	f.createWithTTL(t, "short", 10)
	f.createWithTTL(t, "forever", 0)
	f.createWithTTL(t, "longest", 1<<63)
	w := f.mustWatch(t, watchAll(f.currentRV(), false))

	for _, step := range []struct {
		at      int64
		deleted string
	}{{1010, "short"}, {1030, "long"}} {
		clk.SetTime(time.Unix(step.at-1, 999e6))
		if !f.exists("/pods/ns/" + step.deleted) {
			t.Errorf("%s was deleted before its time", step.deleted)
		}
		eventually(t, "the expirer waits", clk.HasWaiters)
		clk.SetTime(time.Unix(step.at, 0))
		if got := nextEvent(t, w).Object.(*example.Pod).Name; got != step.deleted {
			t.Errorf("at %d: %s was deleted, want %s", step.at, got, step.deleted)
		}
	}
	for _, name := range []string{"forever", "longest"} {
		if !f.exists("/pods/ns/" + name) {
			t.Errorf("%s was deleted", name)
		}
	}
}

func TestExpiryAfterRestart(t *testing.T) {
	db := openDB(t, kv.Options{})
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	for key, expiry := range map[string]int64{"past": 900, "soon": 1010, "never": 0} {
		op := kv.Op{Key: key, Value: []byte("x"), Expiry: expiry}
		if expiry != 0 {
			op.Tags = []uint64{expires}
		}
		if _, err := db.Apply(t.Context(), op); err != nil {
			t.Fatal(err)
		}
	}
	runUntilCleanup(t, NewExpirer(db, clk).Run)
	gone := func(key string) func() bool {
		return func() bool {
			_, found := db.Snapshot().Get(key)
			return !found
		}
	}
	eventually(t, "what expired while the server was down is deleted", gone("past"))
	if gone("soon")() {
		t.Error("deleted before its time")
	}
	eventually(t, "the expirer waits", clk.HasWaiters)
	clk.Step(10 * time.Second)
	eventually(t, "the rest is deleted in time", gone("soon"))
	if gone("never")() {
		t.Error("deleted what does not expire")
	}
}

func TestExpiryOfWhatWasWrittenAgain(t *testing.T) {
	tests := []struct {
		name       string
		ttl        *uint64
		wantExpiry int64
	}{
		{"kept", nil, 1010},
		{"prolonged", ptr.To[uint64](50), 1050},
		{"taken away", ptr.To[uint64](0), 0},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			db := openDB(t, kv.Options{})
			clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
			c := podConfig(db)
			c.Clock, c.Expirer = clk, NewExpirer(db, clk)
			s, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			f := &fixture{Store: s, db: db}
			f.createWithTTL(t, "a", 10)
			err = s.GuaranteedUpdate(t.Context(), "/pods/ns/a", &example.Pod{}, false, nil,
				func(obj runtime.Object, meta storage.ResponseMeta) (runtime.Object, *uint64, error) {
					if meta.TTL != 10 {
						t.Errorf("the update was told of %d seconds, want 10", meta.TTL)
					}
					obj.(*example.Pod).Labels = map[string]string{"a": "b"}
					return obj, tc.ttl, nil
				}, nil)
			if err != nil {
				t.Fatal(err)
			}
			entry, _ := db.Snapshot().Get("/pods/ns/a")
			if entry.Expiry != tc.wantExpiry {
				t.Errorf("expires at %d, want %d", entry.Expiry, tc.wantExpiry)
			}
			clk.SetTime(time.Unix(1010, 0))
			if err := c.Expirer.deleteDue(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got, want := f.exists("/pods/ns/a"), tc.wantExpiry != 1010; got != want {
				t.Errorf("after ten seconds the object exists: %t, want %t", got, want)
			}
			if got, want := len(c.Expirer.queue), 0; tc.wantExpiry <= 1010 && got != want {
				t.Errorf("%d keys are queued, want %d", got, want)
			}
		})
	}
}

func TestExpirerForgetsWhatIsGone(t *testing.T) {
	db := openDB(t, kv.Options{})
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	x := NewExpirer(db, clk)
	for range 5 {
		x.Track(kv.Entry{Key: "a", Expiry: 900})
	}
	if len(x.queue) != 1 {
		t.Errorf("%d keys are queued for one", len(x.queue))
	}
	if err := x.deleteDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(x.queue) != 0 || len(x.index) != 0 {
		t.Errorf("holds %d and %d keys of none", len(x.queue), len(x.index))
	}
}
