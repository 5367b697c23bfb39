package ledger

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
)

// crew fills pools as they are called, each in its turn.
type crew struct {
	desk
	queue   []types.NamespacedName
	pools   map[string]*v1alpha1.WarmPool
	started map[string][]string
}

func (c *crew) PoolChanged(pool types.NamespacedName) { c.queue = append(c.queue, pool) }

func newCrew(t *testing.T, limit int) *crew {
	c := &crew{desk: desk{T: t, clock: testingclock.NewFakeClock(noon)}, pools: map[string]*v1alpha1.WarmPool{}, started: map[string][]string{}}
	c.Ledger = New(Config{Clock: c.clock, Listener: c, StartLimit: limit, PodName: func(pool string) string {
		c.named++
		return fmt.Sprintf("%s-%d", pool, c.named)
	}})
	c.Open()
	return c
}

func (c *crew) add(name string, replicas int32) {
	pool := poolOf(types.UID("uid-"+name), replicas, func(p *v1alpha1.WarmPool) { p.Name = name })
	c.pools[name] = pool
	c.SetPool(pool)
	c.run()
}

// run fills the pools that were called until none is.
func (c *crew) run() {
	for range 1000 {
		if len(c.queue) == 0 {
			return
		}
		next := c.queue[0]
		c.queue = c.queue[1:]
		for _, spec := range c.Fill(next).Start {
			c.started[next.Name] = append(c.started[next.Name], spec.Name)
			c.Observe(podruntime.Event{Pod: podOf(spec.Name, c.pools[next.Name], podruntime.Starting)})
		}
	}
	c.Fatal("the pools are called without end")
}

// ready has the pod that a pool started first be ready.
func (c *crew) ready(pool string) {
	name := c.started[pool][0]
	c.started[pool] = c.started[pool][1:]
	c.Observe(podruntime.Event{Pod: podOf(name, c.pools[pool], podruntime.Ready)})
	c.run()
}

func (c *crew) wantStarting(want map[string]int) {
	c.Helper()
	got := map[string]int{}
	for pool, pods := range c.started {
		if len(pods) > 0 {
			got[pool] = len(pods)
		}
	}
	c.want("starting", want, got)
}

// TestTheStartLimitIsForAllPools and not for each, as it was.
func TestTheStartLimitIsForAllPools(t *testing.T) {
	c := newCrew(t, 4)
	c.add("a", 3)
	c.add("b", 3)
	c.wantStarting(map[string]int{"a": 3, "b": 1})
	for range 3 {
		c.ready("a")
	}
	c.wantStarting(map[string]int{"b": 3})
}

// TestPoolsTakeTurns has two pools come after one that wants many pods.
func TestPoolsTakeTurns(t *testing.T) {
	c := newCrew(t, 4)
	c.add("large", 100)
	c.wantStarting(map[string]int{"large": 4})
	c.add("b", 3)
	c.add("c", 3)
	for range 4 {
		c.ready("large")
	}
	for _, pool := range []string{"large", "b", "c"} {
		if n := len(c.started[pool]); n < 1 || n > 2 {
			t.Errorf("pool %s has %d of 4 slots, want 1 or 2", pool, n)
		}
	}
}

// TestAPoolThatHangsHoldsTheSlotsOnce has pods that neither start nor say why.
func TestAPoolThatHangsHoldsTheSlotsOnce(t *testing.T) {
	c := newCrew(t, 4)
	c.add("hangs", 100)
	c.add("other", 2)
	c.wantStarting(map[string]int{"hangs": 4})
	again := c.Fill(types.NamespacedName{Namespace: "ns", Name: "other"}).RetryAt
	c.want("next look", noon.Add(slotTime), again)
	c.clock.Step(slotTime)
	c.queue = append(c.queue, types.NamespacedName{Namespace: "ns", Name: "other"})
	c.run()
	c.wantStarting(map[string]int{"hangs": 4, "other": 2})
	c.clock.Step(time.Hour)
	c.queue = append(c.queue, types.NamespacedName{Namespace: "ns", Name: "hangs"})
	c.run()
	c.wantStarting(map[string]int{"hangs": 4, "other": 2})
}

// TestAPodThatSaysWhatItWaitsForHoldsNoSlot frees the slots at once.
func TestAPodThatSaysWhatItWaitsForHoldsNoSlot(t *testing.T) {
	c := newCrew(t, 2)
	c.add("pulls", 2)
	c.add("other", 2)
	for _, name := range c.started["pulls"] {
		waits := podOf(name, c.pools["pulls"], podruntime.Starting)
		waits.Reason = podruntime.ReasonImagePull
		c.Observe(podruntime.Event{Pod: waits})
		c.run()
	}
	c.wantStarting(map[string]int{"pulls": 2, "other": 2})
}

// TestAPoolThatGoesGivesUpItsTurn in whatever way it stops wanting pods.
func TestAPoolThatGoesGivesUpItsTurn(t *testing.T) {
	for name, end := range map[string]func(*crew, *v1alpha1.WarmPool){
		"deleted":     func(c *crew, p *v1alpha1.WarmPool) { c.DropPool(types.NamespacedName{Namespace: "ns", Name: p.Name}) },
		"scaled down": func(c *crew, p *v1alpha1.WarmPool) { q := p.DeepCopy(); replicas(0)(q); c.SetPool(q) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrew(t, 1)
			c.add("first", 1)
			c.add("gone", 1)
			c.add("last", 1)
			end(c, c.pools["gone"])
			c.run()
			c.ready("first")
			c.wantStarting(map[string]int{"last": 1})
			c.ready("last")
			c.want("turns", 0, c.slots.turns.Len())
			c.want("held", 0, len(c.slots.held))
		})
	}
}
