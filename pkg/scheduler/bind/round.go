package bind

import (
	"context"
	"fmt"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler/ledger"
)

const (
	// firstRound is how long a sandbox has to wait before its status says so:
	// one that is served at once costs no write for it.
	firstRound = 100 * time.Millisecond
	// roundInterval is the least time between two rounds over one queue.
	roundInterval = time.Second
	// roundWrites bounds the writes of one round. When one pod is given out,
	// everybody behind moves up by one: in a very long queue the positions
	// far behind lag by more than a second rather than slow down those in front.
	roundWrites = 256
)

// roundKey is the key of the timer of a pool's next round.
type roundKey struct{ pool types.NamespacedName }

// describeQueue tells the sandboxes that wait for a pool where they stand.
func (b *Binder) describeQueue(ctx context.Context, pool types.NamespacedName) error {
	waiters := b.config.Ledger.Waiters(pool)
	if len(waiters) == 0 {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.described, pool)
		return nil
	}
	if at, wait := b.nextRound(pool); wait {
		b.config.Timers.Ensure(roundKey{pool}, at, func() { b.rounds.Add(pool) })
		return nil
	}
	writes := 0
	for _, waiter := range waiters {
		written, err := b.tell(ctx, waiter)
		if err != nil {
			return err
		}
		if !written {
			continue
		}
		if writes++; writes == roundWrites {
			b.rounds.Add(pool)
			return nil
		}
	}
	return nil
}

// nextRound says until when the next round over a queue has to wait, or notes
// that it is made now.
func (b *Binder) nextRound(pool types.NamespacedName) (at time.Time, wait bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.config.Clock.Now()
	last, known := b.described[pool]
	switch {
	case !known:
		// The first round is put off once; the entry makes the next call go on.
		b.described[pool] = now.Add(firstRound - roundInterval)
		return now.Add(firstRound), true
	case now.Before(last.Add(roundInterval)):
		return last.Add(roundInterval), true
	}
	b.described[pool] = now
	return time.Time{}, false
}

// tell writes where a sandbox that waits stands, if that is not stored yet. A
// sandbox that is changed by somebody else meanwhile is left for the next round.
func (b *Binder) tell(ctx context.Context, waiter ledger.Waiter) (written bool, err error) {
	sandbox, err := b.config.Sandboxes.Sandboxes(waiter.Sandbox.Namespace).Get(waiter.Sandbox.Name)
	if err != nil || sandbox.UID != waiter.UID || sandbox.Status.PodName != "" || sandbox.Status.Phase == v1alpha1.SandboxFailed {
		// The cache is ahead of the ledger: the sandbox waits no more.
		return false, nil
	}
	changed := sandbox.DeepCopy()
	status := &changed.Status
	status.ObservedGeneration = changed.Generation
	status.Phase, status.Reason, status.Message = v1alpha1.SandboxPending, waiter.Reason, waiter.Message
	status.QueuePosition = nil
	if waiter.Position > 0 {
		status.QueuePosition = &waiter.Position
	}
	setReady(status, metav1.ConditionFalse, b.config.Clock.Now())
	if apiequality.Semantic.DeepEqual(status, &sandbox.Status) {
		return false, nil
	}
	_, err = b.config.Client.Sandboxes(sandbox.Namespace).UpdateStatus(ctx, changed, updateOptions)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		b.rounds.Add(types.NamespacedName{Namespace: sandbox.Namespace, Name: sandbox.Spec.PoolRef})
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("tell sandbox %s where it stands: %w", waiter.Sandbox, err)
	}
	return true, nil
}
