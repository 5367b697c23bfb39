// Package timer keeps every deadline of the scheduler on one heap with one
// goroutine and an injected clock. Nothing is durable: after a restart the
// rooms set their timers again from the stored objects.
//
// Run owns the goroutine. A Queue's mutex is a leaf: no other lock is taken
// while it is held, and callbacks are made without it.
package timer

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Queue holds timers by key. All methods may be called concurrently, also
// before Run; nothing fires until Run runs.
type Queue struct {
	clock clock.Clock
	// wake tells Run that the next deadline is an earlier one.
	wake chan struct{}

	mu    sync.Mutex
	heap  deadlines
	byKey map[any]*deadline
}

// deadline is one timer.
type deadline struct {
	key   any
	at    time.Time
	fire  func()
	index int
}

// New returns an empty queue.
func New(clock clock.Clock) *Queue {
	return &Queue{clock: clock, wake: make(chan struct{}, 1), byKey: map[any]*deadline{}}
}

// Set makes fire be called at the given time, in place of whatever was set for
// the key, which is a comparable value of the caller's own type. Fire runs on the
// queue's goroutine: it must not block. A time that has passed fires at once.
func (q *Queue) Set(key any, at time.Time, fire func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d, ok := q.byKey[key]; ok {
		d.at, d.fire = at, fire
		heap.Fix(&q.heap, d.index)
	} else {
		q.pushLocked(key, at, fire)
	}
	q.wakeLocked(key)
}

// After is Set at the given time from now.
func (q *Queue) After(key any, wait time.Duration, fire func()) {
	q.Set(key, q.clock.Now().Add(wait), fire)
}

// Ensure is Set, unless a timer is set for the key: then it changes nothing.
func (q *Queue) Ensure(key any, at time.Time, fire func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.byKey[key]; !ok {
		q.pushLocked(key, at, fire)
		q.wakeLocked(key)
	}
}

// Stop removes the timer of a key, if there is one. A call of fire that is
// under way goes on.
func (q *Queue) Stop(key any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d, ok := q.byKey[key]; ok {
		heap.Remove(&q.heap, d.index)
		delete(q.byKey, key)
	}
}

// Len returns the number of timers that are set.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.heap)
}

// Run fires timers until ctx ends.
func (q *Queue) Run(ctx context.Context) {
	for ctx.Err() == nil {
		due, next := q.take()
		for _, fire := range due {
			fire()
		}
		if len(due) > 0 {
			continue
		}
		q.sleep(ctx, next)
	}
}

// sleep returns at the given time, if it is not zero, or sooner if woken.
func (q *Queue) sleep(ctx context.Context, next time.Time) {
	if next.IsZero() {
		select {
		case <-ctx.Done():
		case <-q.wake:
		}
		return
	}
	timer := q.clock.NewTimer(next.Sub(q.clock.Now()))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-q.wake:
	case <-timer.C():
	}
}

// take removes the timers that are due and returns them in order, and the time
// of the next, which is zero if there is none.
func (q *Queue) take() (due []func(), next time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.clock.Now()
	for len(q.heap) > 0 {
		first := q.heap[0]
		if first.at.After(now) {
			return due, first.at
		}
		heap.Pop(&q.heap)
		delete(q.byKey, first.key)
		due = append(due, first.fire)
	}
	return due, time.Time{}
}

func (q *Queue) pushLocked(key any, at time.Time, fire func()) {
	d := &deadline{key: key, at: at, fire: fire}
	q.byKey[key] = d
	heap.Push(&q.heap, d)
}

// wakeLocked wakes Run if the timer of the key is the next one.
func (q *Queue) wakeLocked(key any) {
	if q.heap[0].key != key {
		return
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// deadlines implements heap.Interface, the earliest first.
type deadlines []*deadline

func (h deadlines) Len() int           { return len(h) }
func (h deadlines) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h deadlines) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *deadlines) Push(x any) {
	d := x.(*deadline)
	d.index = len(*h)
	*h = append(*h, d)
}

func (h *deadlines) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return d
}
