package health_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"

	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler/health"
	"arl.io/arl/pkg/scheduler/schedulertest"
	"arl.io/arl/pkg/scheduler/timer"
)

// fixture is a Prober that runs, whose clock moves only by pass.
type fixture struct {
	t      *testing.T
	clock  *testingclock.FakeClock
	timers *timer.Queue
	pods   []*schedulertest.Pod

	mu   sync.Mutex
	lost map[string]string
}

// start returns a Prober's fixture with so many pods.
func start(t *testing.T, pods int) *fixture {
	t.Helper()
	f := &fixture{t: t, clock: testingclock.NewFakeClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)), lost: map[string]string{}}
	f.timers = timer.New(f.clock)
	runtime := schedulertest.NewRuntime(f.clock)
	prober := health.New(health.Config{Runtime: runtime, Timers: f.timers, Clock: f.clock,
		Lost: func(pod podruntime.Key, _ types.UID, _, message string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.lost[pod.Name] = message
		}})
	for i := range pods {
		key := podruntime.Key{Namespace: schedulertest.Namespace, Name: fmt.Sprintf("pod-%d", i)}
		if _, err := runtime.Create(t.Context(), podruntime.Spec{Key: key}); err != nil {
			t.Fatal(err)
		}
		pod := runtime.Pod(key.Name)
		prober.Observe(podruntime.Event{Pod: pod.Pod})
		f.pods = append(f.pods, pod)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { f.timers.Run(ctx) })
	group.Go(func() { prober.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		group.Wait()
		runtime.Close()
	})
	return f
}

// pass lets time pass by the second. Before each, it waits until all that is due has been done: every
// pod that is not lost then waits for its next probe or for an answer.
func (f *fixture) pass(d time.Duration) {
	f.t.Helper()
	for ; d > 0; d -= time.Second {
		f.clock.Step(time.Second)
		deadline := time.Now().Add(time.Minute)
		for {
			left := len(f.pods) - len(f.losses())
			if f.timers.Len() == left && (left == 0 || f.clock.HasWaiters()) {
				break
			}
			if time.Now().After(deadline) {
				f.t.Fatalf("%d timers are set for %d pods", f.timers.Len(), left)
			}
			<-time.After(100 * time.Microsecond)
		}
	}
}

// losses returns the names of the pods whose agents were reported as lost.
func (f *fixture) losses() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for name := range f.lost {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (f *fixture) wantLost(when string, want ...string) {
	f.t.Helper()
	if got := f.losses(); !slices.Equal(got, want) {
		f.t.Fatalf("%s: lost are %v, want %v", when, got, want)
	}
}

// longest is the time in which an agent that stops answering is found: the interval until its next
// probe and the jitter of that, the patience, and the probe that is under way by then.
const longest = health.Interval + 2*time.Second + health.Patience + 15*time.Second

// TestAnAgentThatStopsAnsweringIsFound has one agent of several stop to answer.
func TestAnAgentThatStopsAnsweringIsFound(t *testing.T) {
	for name, stop := range map[string]func(*schedulertest.Agent){
		"it is frozen":           func(a *schedulertest.Agent) { a.Freeze() },
		"it refuses connections": func(a *schedulertest.Agent) { a.Deaf(true) },
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, 3)
			f.pass(time.Minute)
			stop(f.pods[1].Agent)
			f.pass(health.Patience - time.Second)
			f.wantLost("before the patience is over")
			f.pass(longest - health.Patience + time.Second)
			f.wantLost("in the end", "pod-1")
			if message := f.lost["pod-1"]; !strings.Contains(message, "has not answered for") {
				t.Errorf("the message is %q", message)
			}
		})
	}
}

// TestTheOnlyAgentIsFound has nothing to compare the agent with.
func TestTheOnlyAgentIsFound(t *testing.T) {
	f := start(t, 1)
	f.pods[0].Agent.Freeze()
	f.pass(longest)
	f.wantLost("in the end", "pod-0")
}

// TestMissedProbesAreForgiven has an agent answer again before it is lost, many times.
func TestMissedProbesAreForgiven(t *testing.T) {
	f := start(t, 1)
	for range 10 {
		f.pods[0].Agent.Freeze()
		f.pass(health.Patience - 5*time.Second)
		f.pods[0].Agent.Thaw()
		f.pass(30 * time.Second)
	}
	f.wantLost("in the end")
}

// TestManySilentAgentsAreDoubted has most agents stop to answer at once: the server may be the cause,
// so they are given longer, and not for ever.
func TestManySilentAgentsAreDoubted(t *testing.T) {
	f := start(t, 10)
	for _, pod := range f.pods[:6] {
		pod.Agent.Freeze()
	}
	f.pass(health.DoubtPatience - time.Second)
	f.wantLost("before the longer patience is over")
	f.pass(longest)
	f.wantLost("in the end", "pod-0", "pod-1", "pod-2", "pod-3", "pod-4", "pod-5")
}
