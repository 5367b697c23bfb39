package ledger

import (
	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler/plan"
)

// Reserve sets a pod aside for a sandbox that is being created, and returns it and its pool. It returns
// false if there is none to be had at once, or others come first; then the sandbox is
// stored as Pending and waits. After true, Settle must be called exactly once.
// Sandbox is not kept.
func (l *Ledger) Reserve(sandbox *v1alpha1.Sandbox) (given podruntime.Pod, pool *v1alpha1.WarmPool, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.books[types.NamespacedName{Namespace: sandbox.Namespace, Name: sandbox.Spec.PoolRef}]
	if !ok || !l.open || !b.serves() || l.claims[sandbox.UID] != nil {
		return podruntime.Pod{}, nil, false
	}
	if first, waits := b.waiting.Min(); waits && !plan.MayOvertake(sandbox.Spec.Priority, first.place) {
		return podruntime.Pod{}, nil, false
	}
	if plan.Insufficient(sandbox, b.pool) != "" {
		return podruntime.Pod{}, nil, false
	}
	p := b.pick()
	if p == nil {
		return podruntime.Pod{}, nil, false
	}
	l.takeLocked(l.claimLocked(sandbox.DeepCopy()), p, Reserved)
	return p.Pod, b.pool, true
}

// Settle tells how the create of a sandbox for which a pod was reserved went:
// whether it is stored, with the pod. A reservation that came to nothing frees
// the pod. What the stored sandboxes have said meanwhile is not undone.
func (l *Ledger) Settle(uid types.UID, isStored bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.claims[uid]
	if !ok || c.stage != Reserved {
		return
	}
	switch {
	case isStored && c.pod == nil:
		l.loseLocked(c, c.reason, c.message)
	case isStored:
		c.stage = Bound
		l.stored[c.podKey] = c
	default:
		l.dropLocked(&v1alpha1.Sandbox{ObjectMeta: c.sandbox.ObjectMeta})
	}
}
