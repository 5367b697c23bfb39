package timer

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	testingclock "k8s.io/utils/clock/testing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// running returns a queue that runs, its clock, and a channel on which timers
// that note their name with the function are seen.
func running(t *testing.T) (q *Queue, frozen *testingclock.FakeClock, note func(string) func(), seen chan string) {
	t.Helper()
	frozen = testingclock.NewFakeClock(noon)
	q = New(frozen)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { q.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
	seen = make(chan string, 100)
	return q, frozen, func(name string) func() { return func() { seen <- name } }, seen
}

func next(t *testing.T, seen chan string) string {
	t.Helper()
	select {
	case name := <-seen:
		return name
	case <-time.After(10 * time.Second):
		t.Fatal("nothing fired")
		return ""
	}
}

func TestTimersFireInOrder(t *testing.T) {
	q, frozen, note, seen := running(t)
	for name, after := range map[string]time.Duration{"c": 3 * time.Second, "a": time.Second, "b": 2 * time.Second, "late": time.Hour} {
		q.Set(name, noon.Add(after), note(name))
	}
	frozen.Step(time.Minute)
	got := []string{next(t, seen), next(t, seen), next(t, seen)}
	if diff := cmp.Diff([]string{"a", "b", "c"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if q.Len() != 1 {
		t.Errorf("%d timers are left, want 1", q.Len())
	}
}

func TestATimeThatHasPassedFiresAtOnce(t *testing.T) {
	q, _, note, seen := running(t)
	q.Set("past", noon.Add(-time.Hour), note("past"))
	if got := next(t, seen); got != "past" {
		t.Errorf("%s fired", got)
	}
}

func TestSetReplacesEnsureDoesNotStopRemoves(t *testing.T) {
	q, frozen, note, seen := running(t)
	q.Set("a", noon.Add(time.Hour), note("a, first"))
	q.Set("a", noon.Add(time.Second), note("a, second"))
	q.Ensure("b", noon.Add(2*time.Second), note("b, first"))
	q.Ensure("b", noon.Add(time.Millisecond), note("b, second"))
	q.After("c", 500*time.Millisecond, note("c"))
	q.Stop("c")
	q.Stop("unknown")
	frozen.Step(2 * time.Hour)
	got := []string{next(t, seen), next(t, seen)}
	if diff := cmp.Diff([]string{"a, second", "b, first"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if q.Len() != 0 {
		t.Errorf("%d timers are left", q.Len())
	}
}

// TestAnEarlierTimerWakesTheSleeper sets the next timer while Run sleeps for a later one.
func TestAnEarlierTimerWakesTheSleeper(t *testing.T) {
	q, frozen, note, seen := running(t)
	q.Set("late", noon.Add(time.Hour), note("late"))
	for !frozen.HasWaiters() {
		<-time.After(time.Millisecond)
	}
	q.Set("soon", noon.Add(time.Second), note("soon"))
	frozen.Step(time.Second)
	if got := next(t, seen); got != "soon" {
		t.Errorf("%s fired", got)
	}
	frozen.Step(time.Hour)
	if got := next(t, seen); got != "late" {
		t.Errorf("%s fired", got)
	}
}
