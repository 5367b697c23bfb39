package work

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	testingclock "k8s.io/utils/clock/testing"

	"arl.io/arl/pkg/scheduler/timer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAKeyThatFailsComesBackLaterAndLater(t *testing.T) {
	frozen := testingclock.NewFakeClock(time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC))
	timers := timer.New(frozen)
	q := NewQueue[string]("letters", timers)
	begin := frozen.Now()
	tries := make(chan time.Duration, 10)
	failures := 3
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { timers.Run(ctx) })
	group.Go(func() {
		q.Run(ctx, 2, func(context.Context, string) error {
			tries <- frozen.Since(begin)
			if failures--; failures >= 0 {
				return errors.New("not yet")
			}
			return nil
		})
	})
	q.Add("a")
	var got []time.Duration
	for _, step := range []time.Duration{10, 20, 40, 0} {
		select {
		case at := <-tries:
			got = append(got, at)
		case <-time.After(10 * time.Second):
			t.Fatalf("only %d tries", len(got))
		}
		for step > 0 && !frozen.HasWaiters() {
			<-time.After(time.Millisecond)
		}
		frozen.Step(step * time.Millisecond)
	}
	want := []time.Duration{0, 10 * time.Millisecond, 30 * time.Millisecond, 70 * time.Millisecond}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tries: -want +got:\n%s", diff)
	}
	cancel()
	group.Wait()
	if timers.Len() != 0 {
		t.Errorf("%d timers are left", timers.Len())
	}
}

func TestAQueueThatIsNeverRunLeavesNothing(t *testing.T) {
	q := NewQueue[int]("numbers", timer.New(testingclock.NewFakeClock(time.Now())))
	for i := range 100 {
		q.Add(i)
	}
}

func TestNothingIsBegunAfterTheEnd(t *testing.T) {
	q := NewQueue[int]("numbers", timer.New(testingclock.NewFakeClock(time.Now())))
	for i := range 100 {
		q.Add(i)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	q.Run(ctx, 4, func(context.Context, int) error {
		t.Error("worked on a key after the end")
		return nil
	})
}

// TestAKeyThatIsRefusedDoesNotComeBack has the server refuse a request as it stands.
func TestAKeyThatIsRefusedDoesNotComeBack(t *testing.T) {
	timers := timer.New(testingclock.NewFakeClock(time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)))
	q := NewQueue[string]("letters", timers)
	refusals := map[string]error{
		"invalid":   apierrors.NewInvalid(schema.GroupKind{Kind: "Sandbox"}, "a", nil),
		"too large": apierrors.NewRequestEntityTooLargeError("limit is 3145728"),
		"bad":       apierrors.NewBadRequest("no"),
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	worked := make(chan string, len(refusals))
	group.Go(func() {
		q.Run(ctx, 1, func(_ context.Context, key string) error {
			worked <- key
			if key == "" {
				return nil
			}
			return fmt.Errorf("write the status: %w", refusals[key])
		})
	})
	for key := range refusals {
		q.Add(key)
		<-worked
	}
	// A key that is added after that is worked on when those before it are done with.
	q.Add("")
	<-worked
	cancel()
	group.Wait()
	if n := timers.Len(); n != 0 {
		t.Errorf("%d keys come back", n)
	}
}
