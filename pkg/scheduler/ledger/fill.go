package ledger

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler/plan"
)

// Work is what Fill wants done.
type Work struct {
	// Start are the pods to create. Each is entered already: it is told with
	// Observe that it was created, or with StartFailed that it was not.
	Start []podruntime.Spec
	// RetryAt is when Fill should be called again, if not zero: pods have
	// failed to start, and it is too early to try again.
	RetryAt time.Time
}

// Fill brings a pool closer to what is wanted: it returns the pods to start and
// lets go those that are too many.
func (l *Ledger) Fill(pool types.NamespacedName) Work {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.books[pool]
	if !ok || !l.open || !b.serves() {
		return Work{}
	}
	now := l.config.Clock.Now()
	have := b.stock()
	order := plan.Fill(l.wantLocked(b), have)
	l.stopLocked(b, order)

	var work Work
	if order.Start == 0 && have.Current.Starting == 0 {
		b.sated()
	}
	if order.Start > 0 && now.Before(b.trouble.next) {
		work.RetryAt = b.trouble.next
		return work
	}
	if b.trouble.now {
		// One pod tries whether things are well again.
		order.Start = min(order.Start, max(1-have.Current.Starting, 0))
	}
	for range order.Start {
		work.Start = append(work.Start, l.startLocked(b, now))
	}
	return work
}

func (l *Ledger) wantLocked(b *book) plan.Want {
	want := plan.Want{Replicas: 1, Strategy: b.pool.Spec.UpdateStrategy.Type, StartLimit: l.config.StartLimit}
	if b.pool.Spec.Replicas != nil {
		want.Replicas = int(*b.pool.Spec.Replicas)
	}
	if b.pool.Spec.MaxPods != nil {
		want.MaxPods = int(*b.pool.Spec.MaxPods)
	}
	return want
}

// startLocked enters a new pod and returns what it is to be made from.
func (l *Ledger) startLocked(b *book, now time.Time) podruntime.Spec {
	key := podruntime.Key{Namespace: b.key.Namespace, Name: l.config.PodName(b.key.Name)}
	for l.pods[key] != nil {
		key.Name = l.config.PodName(b.key.Name)
	}
	p := &pod{book: b, state: starting, Pod: podruntime.Pod{
		Key:          key,
		Pool:         b.key.Name,
		PoolUID:      b.pool.UID,
		TemplateHash: b.hash,
		WorkDir:      b.pool.Spec.WorkDir,
		Phase:        podruntime.Starting,
		CreatedAt:    now,
	}}
	l.pods[key] = p
	b.pods[p] = struct{}{}
	b.put(p)
	l.config.Listener.PoolChanged(b.key)
	return podruntime.Spec{
		Key:          key,
		Pool:         p.Pool,
		PoolUID:      p.PoolUID,
		TemplateHash: p.TemplateHash,
		Template:     &b.pool.Spec.Template,
		WorkDir:      p.WorkDir,
	}
}

// stopLocked lets go as many pods of each shelf as ordered.
func (l *Ledger) stopLocked(b *book, order plan.Order) {
	var leave []*pod
	for hash, s := range b.shelves {
		quota := &order.StopOld
		if hash == b.hash {
			quota = &order.StopCurrent
		}
		for p := range s.starting {
			if quota.Starting > 0 {
				quota.Starting--
				leave = append(leave, p)
			}
		}
		for e := s.idle.Back(); e != nil && quota.Idle > 0; e = e.Prev() {
			quota.Idle--
			leave = append(leave, e.Value.(*pod))
		}
	}
	for _, p := range leave {
		l.leaveLocked(p)
	}
}

// StartFailed tells that a pod that Fill ordered was not created, and why. The
// pool backs off, for the given time at least within its bounds.
func (l *Ledger) StartFailed(key podruntime.Key, reason, message string, atLeast time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.pods[key]
	if !ok || p.UID != "" {
		return
	}
	p.book.failed(l.config.Clock.Now(), reason, message, atLeast)
	l.removeLocked(p, message)
}

// Counts describes a pool for its status.
type Counts struct {
	// Unused pods are starting or idle; Ready ones are idle, Updated ones idle
	// and of the current template; Allocated ones are in use.
	Unused, Ready, Updated, Allocated int
	// Waiting is the number of sandboxes that wait for a pod.
	Waiting int
	// Failing says that pods cannot be started at present, and Reason and
	// Message why. A pod that is still starting may have a reason, too.
	Failing         bool
	Reason, Message string
	// RetryAt is when the next pod is tried at the earliest, after one has failed.
	RetryAt time.Time
}

// Counts returns the counts of a pool.
func (l *Ledger) Counts(pool types.NamespacedName) Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.books[pool]
	if !ok {
		return Counts{}
	}
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
		counts.Failing, counts.Reason, counts.Message = true, stuck.Reason, stuck.Message
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
	reason, message := b.whyWaiting()
	waiters := make([]Waiter, 0, b.waiting.Len())
	b.waiting.Ascend(func(c *claim) bool {
		w := Waiter{Sandbox: c.key, UID: c.uid, Reason: reason, Message: message}
		if b.serves() {
			w.Position = int32(len(waiters)) + 1
		}
		waiters = append(waiters, w)
		return true
	})
	return waiters
}

// whyWaiting says for humans what the sandboxes of a pool wait for, and what to do about it.
func (b *book) whyWaiting() (reason, message string) {
	switch {
	case !b.serves():
		return v1alpha1.SandboxReasonPoolNotFound,
			"there is no warm pool \"" + b.key.Name + "\" in namespace \"" + b.key.Namespace + "\": create it, or delete this sandbox"
	case b.pool.Spec.Replicas != nil && *b.pool.Spec.Replicas == 0:
		return v1alpha1.SandboxReasonWaitingForPod,
			"pool \"" + b.key.Name + "\" starts no pods because its spec.replicas is 0: scale it up"
	case b.trouble.now:
		return v1alpha1.SandboxReasonWaitingForPod,
			"pool \"" + b.key.Name + "\" cannot start pods: " + b.trouble.reason + ": " + b.trouble.message
	case b.stuck() != nil:
		stuck := b.stuck()
		return v1alpha1.SandboxReasonWaitingForPod,
			"the pods that pool \"" + b.key.Name + "\" starts wait: " + stuck.Reason + ": " + stuck.Message
	default:
		return v1alpha1.SandboxReasonWaitingForPod,
			"every ready pod of pool \"" + b.key.Name + "\" is in use: waiting for the next"
	}
}
