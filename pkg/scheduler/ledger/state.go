package ledger

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler/plan"
)

// Counts describes a pool for its status.
type Counts struct {
	// Unused pods are starting or idle; Ready ones are idle, Updated ones idle
	// and of the current template; Allocated ones are in use.
	Unused, Ready, Updated, Allocated int
	// Waiting is the number of sandboxes that wait for a pod.
	Waiting int
	// Failing says that pods cannot be started at present, and Reason and Message why and what to do
	// about it. A pod that is still starting may have a reason, too.
	Failing         bool
	Reason, Message string
	// RetryAt is when the next pod is tried at the earliest, after one has failed.
	RetryAt time.Time
}

// State is all that the status of a pool is made from.
type State struct {
	Counts
	// Proven says that a pod of the current template has been ready.
	Proven bool
	// Capped says that spec.maxPods keeps pods from being started that are wanted.
	Capped bool
	// Terminating says that the pool is being deleted: none of its pods is given out any more.
	Terminating bool
}

// Counts returns the counts of a pool.
func (l *Ledger) Counts(pool types.NamespacedName) Counts { return l.State(pool).Counts }

// State returns the state of a pool.
func (l *Ledger) State(pool types.NamespacedName) State {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.books[pool]
	if !ok {
		return State{}
	}
	state := State{Counts: b.counts(), Proven: b.proven, Terminating: b.pool != nil && !b.serves()}
	if b.serves() {
		state.Capped = plan.Fill(l.wantLocked(b, l.config.Clock.Now()), b.stock()).Capped
	}
	return state
}

func (b *book) counts() Counts {
	stock := b.stock()
	counts := Counts{
		Unused:    stock.Current.Starting + stock.Current.Idle + stock.Old.Starting + stock.Old.Idle,
		Ready:     stock.Current.Idle + stock.Old.Idle,
		Updated:   stock.Current.Idle,
		Allocated: stock.InUse,
		Waiting:   b.waiting.Len(),
	}
	if b.trouble.now {
		counts.Failing, counts.Reason, counts.Message = true, b.trouble.reason, b.trouble.message
		counts.RetryAt = b.trouble.next
	} else if stuck := b.stuck(); stuck != nil {
		counts.Failing, counts.Reason, counts.Message = true, stuck.Reason, explain(stuck.Reason, stuck.Message)
	}
	return counts
}

// stuck returns a pod of the current template that is starting and waits for
// something it has a reason for, always the same one of several; or nil.
func (b *book) stuck() *pod {
	s, ok := b.shelves[b.hash]
	if !ok {
		return nil
	}
	var first *pod
	for p := range s.starting {
		if p.Reason != "" && (first == nil || p.Name < first.Name) {
			first = p
		}
	}
	return first
}

// Waiter is a sandbox that waits.
type Waiter struct {
	Sandbox types.NamespacedName
	UID     types.UID
	// Position is 1 for the next. It is 0 if there is no such pool.
	Position int32
	// Reason and Message say what it waits for.
	Reason, Message string
}

// Waiters returns the sandboxes that wait for a pool, in their order.
func (l *Ledger) Waiters(pool types.NamespacedName) []Waiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.books[pool]
	if !ok || b.waiting.Len() == 0 {
		return nil
	}
	why := l.causeLocked(b)
	soon := why
	if why.reason == v1alpha1.SandboxReasonMaxPodsReached {
		soon = b.idleSoon()
	}
	starting := b.stock().Current.Starting
	waiters := make([]Waiter, 0, b.waiting.Len())
	b.waiting.Ascend(func(c *claim) bool {
		cause := why
		if len(waiters) < starting {
			cause = soon
		}
		w := Waiter{Sandbox: c.key, UID: c.uid, Reason: cause.reason, Message: cause.message}
		if b.serves() {
			w.Position = int32(len(waiters)) + 1
		}
		waiters = append(waiters, w)
		return true
	})
	return waiters
}

// cause is why the sandboxes of a pool wait, and what to do about it.
type cause struct{ reason, message string }

func (l *Ledger) causeLocked(b *book) cause {
	stuck := b.stuck()
	switch {
	case b.pool == nil:
		return cause{v1alpha1.SandboxReasonPoolNotFound, fmt.Sprintf(
			"pool %q does not exist in namespace %q: create it", b.key.Name, b.key.Namespace)}
	case !b.serves():
		return cause{v1alpha1.SandboxReasonPoolTerminating, fmt.Sprintf(
			"pool %q is being deleted and gives out no more pods: create it again when it is gone", b.key.Name)}
	case b.trouble.now:
		return cause{b.trouble.reason, fmt.Sprintf("pool %q cannot start pods: %s: %s", b.key.Name, b.trouble.reason, b.trouble.message)}
	case stuck != nil:
		return cause{stuck.Reason, fmt.Sprintf("pool %q is starting pods that wait: %s: %s",
			b.key.Name, stuck.Reason, explain(stuck.Reason, stuck.Message))}
	case plan.Fill(l.wantLocked(b, l.config.Clock.Now()), b.stock()).Capped:
		return cause{v1alpha1.SandboxReasonMaxPodsReached, fmt.Sprintf(
			"pool %q has as many pods as its spec.maxPods, %d, allows: the next is started when a sandbox is deleted; raise spec.maxPods to have more",
			b.key.Name, *b.pool.Spec.MaxPods)}
	default:
		return b.idleSoon()
	}
}

// idleSoon is the cause of a wait that ends by itself.
func (b *book) idleSoon() cause {
	return cause{v1alpha1.SandboxReasonWaitingForPod, fmt.Sprintf(
		"pool %q has no idle pod: one is started for each sandbox that waits", b.key.Name)}
}
