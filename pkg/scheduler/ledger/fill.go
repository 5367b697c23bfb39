package ledger

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler/plan"
)

// Work is what Fill wants done.
type Work struct {
	// Start are the pods to create. Each is entered already: it is told with
	// Observe that it was created, or with StartFailed that it was not.
	Start []podruntime.Spec
	// RetryAt is when Fill should be called again, if not zero: more is to be done then than now.
	RetryAt time.Time
}

// Fill brings a pool closer to what is wanted: it returns the pods to start and
// lets go those that are too many.
func (l *Ledger) Fill(pool types.NamespacedName) Work {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.books[pool]
	if !ok {
		return Work{}
	}
	if !l.open || !b.serves() {
		l.grantLocked(b, 0, l.config.Clock.Now())
		return Work{}
	}
	now := l.config.Clock.Now()
	have, want := b.stock(), l.wantLocked(b, now)
	order := plan.Fill(want, have)
	l.stopLocked(b, order)
	l.spreadLocked(b)

	var work Work
	if want.Spare > 0 {
		work.lookAgain(b.spareUntil)
	}
	if order.Start == 0 && have.Current.Starting == 0 {
		b.sated()
	}
	switch {
	case order.Start > 0 && now.Before(b.trouble.next):
		work.lookAgain(b.trouble.next)
		order.Start = 0
	case b.trouble.now:
		// One pod tries whether things are well again.
		order.Start = min(order.Start, max(1-have.Current.Starting, 0))
	}
	granted, again := l.grantLocked(b, order.Start, now)
	if granted < order.Start {
		work.lookAgain(again)
	}
	for range granted {
		work.Start = append(work.Start, l.startLocked(b, now))
	}
	return work
}

// spreadLocked has the sandboxes that wait learn why, if that is another reason than before.
func (l *Ledger) spreadLocked(b *book) {
	if cause := l.causeLocked(b); cause != b.cause {
		b.cause = cause
		if b.waiting.Len() > 0 {
			l.config.Listener.QueueChanged(b.key)
		}
	}
}

// lookAgain has Fill called at the given time, or sooner.
func (w *Work) lookAgain(at time.Time) {
	if w.RetryAt.IsZero() || at.Before(w.RetryAt) {
		w.RetryAt = at
	}
}

// replicas is the number of idle pods to keep.
func (b *book) replicas() int {
	if b.pool.Spec.Replicas == nil {
		return 1
	}
	return int(*b.pool.Spec.Replicas)
}

func (l *Ledger) wantLocked(b *book, now time.Time) plan.Want {
	want := plan.Want{
		Replicas:   b.replicas(),
		Waiting:    b.waiting.Len(),
		Strategy:   b.pool.Spec.UpdateStrategy.Type,
		StartLimit: l.config.StartLimit,
	}
	if b.pool.Spec.MaxPods != nil {
		want.MaxPods = int(*b.pool.Spec.MaxPods)
	}
	if now.Before(b.spareUntil) {
		want.Spare = b.spare
	}
	return want
}

// spareTime is how long a pod is kept that was started for a sandbox that stopped waiting: clients
// that give up and try again find it.
const spareTime = 30 * time.Second

// spareLocked notes that a sandbox of the pool stopped waiting and got no pod.
func (l *Ledger) spareLocked(b *book) {
	stock := b.stock()
	b.spare = min(b.spare+1, stock.Current.Starting+stock.Current.Idle)
	b.spareUntil = l.config.Clock.Now().Add(spareTime)
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
	l.slots.held[p] = now
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
	message = bounded(message)
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.pods[key]
	if !ok || p.UID != "" {
		return
	}
	p.book.failed(l.config.Clock.Now(), reason, message, atLeast)
	l.removeLocked(p, message)
}
