package bolt

import (
	"context"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// beforeDeadline is how long before the end of its request a watch gets its
// last bookmark, so that the client goes on from close to now.
const beforeDeadline = 2 * time.Second

// alarm tells a watch when it is time for a bookmark: after a period, shortly
// before the deadline of the request, and when somebody asks.
type alarm struct {
	clock  clock.WithDelayedExecution
	period time.Duration

	mu sync.Mutex
	// wake ends the wait that is on; nil if none is.
	wake context.CancelFunc
	// asked is set if ring came while nobody waited.
	asked bool
}

// arm returns a context that ends with ctx or when it is time. disarm must be
// called when the wait is over.
func (a *alarm) arm(ctx context.Context) (wait context.Context, disarm func()) {
	wait, wake := context.WithCancel(ctx)
	timer := a.clock.AfterFunc(a.delay(ctx), wake)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wake = wake
	if a.asked {
		a.asked = false
		wake()
	}
	return wait, func() {
		a.mu.Lock()
		a.wake = nil
		a.mu.Unlock()
		timer.Stop()
		wake()
	}
}

// ring makes it time now.
func (a *alarm) ring() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.wake == nil {
		a.asked = true
		return
	}
	a.wake()
}

func (a *alarm) delay(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return a.period
	}
	last := deadline.Add(-beforeDeadline).Sub(a.clock.Now())
	if last <= 0 {
		// The last one has been sent, or there was no time for one.
		return a.period
	}
	return min(a.period, last)
}
