// Package work runs loops over keyed queues: a key that is added again before
// it was worked on is worked on once, a key is never worked on twice at the same time, and
// one that fails comes back later, each time a longer while later. One that the server refuses for
// good does not come back by itself: the log has the error, and a change of the object adds it again.
//
// It puts client-go's queue and back-off together with the scheduler's own timers, so that a
// queue costs no goroutine before it is run and leaves none behind.
package work

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/scheduler/timer"
)

// Waits before a key that failed is worked on again: a conflict or a hiccup is
// over soon, and nothing that lasts is asked about more than once in a few seconds.
const (
	firstRetry = 10 * time.Millisecond
	maxRetry   = 10 * time.Second
)

// Queue is a queue of keys. It is safe for concurrent use.
type Queue[K comparable] struct {
	name    string
	timers  *timer.Queue
	keys    workqueue.TypedInterface[K]
	backoff workqueue.TypedRateLimiter[K]
}

// NewQueue returns an empty queue. The name says for logs what the keys are.
func NewQueue[K comparable](name string, timers *timer.Queue) *Queue[K] {
	return &Queue[K]{
		name:    name,
		timers:  timers,
		keys:    workqueue.NewTyped[K](),
		backoff: workqueue.NewTypedItemExponentialFailureRateLimiter[K](firstRetry, maxRetry),
	}
}

// Add puts a key in the queue, unless it waits there. It never blocks.
func (q *Queue[K]) Add(key K) { q.keys.Add(key) }

// retryKey is the key of the timer of a key that failed.
type retryKey[K comparable] struct {
	queue *Queue[K]
	key   K
}

// Run has so many workers work on the keys until ctx ends, and joins them. A
// queue is run once.
func (q *Queue[K]) Run(ctx context.Context, workers int, do func(context.Context, K) error) {
	var group sync.WaitGroup
	for range workers {
		group.Go(func() { q.work(ctx, do) })
	}
	<-ctx.Done()
	q.keys.ShutDown()
	group.Wait()
}

func (q *Queue[K]) work(ctx context.Context, do func(context.Context, K) error) {
	for {
		key, done := q.keys.Get()
		if done {
			return
		}
		if ctx.Err() == nil {
			q.one(ctx, key, do)
		}
		q.keys.Done(key)
	}
}

func (q *Queue[K]) one(ctx context.Context, key K, do func(context.Context, K) error) {
	err := do(ctx, key)
	if err == nil || ctx.Err() != nil {
		q.backoff.Forget(key)
		return
	}
	if refused(err) {
		q.backoff.Forget(key)
		klog.FromContext(ctx).Error(err, "Not done, and not tried again until the object changes: the server refuses it as it stands", "queue", q.name, "key", key)
		return
	}
	wait := q.backoff.When(key)
	klog.FromContext(ctx).Error(err, "Not done, trying again", "queue", q.name, "key", key, "wait", wait)
	q.timers.After(retryKey[K]{q, key}, wait, func() { q.Add(key) })
}

// refused says whether the server will refuse the same request however often it is made.
func refused(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsRequestEntityTooLargeError(err)
}
