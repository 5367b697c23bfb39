// Package ledger is the scheduler's one record of which pod is whose. Every
// decision about pods is made here, under one mutex, so that no two sandboxes
// can come by the same pod; carrying the decisions out is left to the rooms
// beside this one.
//
// A pod is starting, idle, taken (by a sandbox) or leaving (its deletion was
// ordered). It is entered before the runtime is asked to create it, so what has
// been ordered is never ordered again. A sandbox waits, or has a pod reserved
// (its create is being stored), granted (its status is to be written) or bound
// (that is stored), or has lost it.
//
// The ledger is rebuilt from the stored objects and the runtime's pods, which
// are told to it in any order; until Open says that all of them have been told, it
// decides nothing. A stored binding wins over everything else. A pod from before the
// restart that is nobody's may have been somebody's whose deletion was the last thing
// the old server did: it is idle only once its agent says that nothing ever ran in it.
//
// It does no I/O, starts no goroutine and reads no clock but for back-off. The mutex is a
// leaf but for the Listener, which is called with the mutex held and may only enqueue.
//
// Read this file first, then claim.go, pod.go, fill.go, slot.go and state.go.
package ledger

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
)

// Listener hears of what has changed. Its methods are called with the ledger's
// lock held: they must not block, nor call back.
type Listener interface {
	// PoolChanged: Fill or Counts of the pool give another answer.
	PoolChanged(pool types.NamespacedName)
	// QueueChanged: the sandboxes that wait for the pool, or why, are others.
	QueueChanged(pool types.NamespacedName)
	// SandboxChanged: the sandbox's Standing is another one, of which its status is to speak.
	SandboxChanged(sandbox types.NamespacedName)
	// PodUnwanted: the pod is to be deleted. The UID is empty if it is not known yet.
	PodUnwanted(pod podruntime.Key, uid types.UID)
	// PodUnproven: the pod is ready and nobody's, but was there before the
	// server was. Prove is to be called with what its agent says.
	PodUnproven(pod podruntime.Key, uid types.UID)
}

// Config is what a ledger needs. All fields are needed.
type Config struct {
	Clock    clock.PassiveClock
	Listener Listener
	// StartLimit caps the pods of all pools together that are starting at the same time; pools take
	// turns. A pod that has been starting for slotTime, or says what it waits for, is not counted any
	// more, so that a pool whose image hangs does not hold up the others for long.
	StartLimit int
	// PodName returns a new, random name for a pod of the named pool.
	PodName func(pool string) string
}

// Ledger is safe for concurrent use.
type Ledger struct {
	config Config

	mu    sync.Mutex
	open  bool
	books map[types.NamespacedName]*book
	pods  map[podruntime.Key]*pod
	// claims are the sandboxes that wait for a pod or have one, by UID.
	claims map[types.UID]*claim
	// stored are the claims whose binding is stored, by the pod it names.
	stored map[podruntime.Key]*claim
	slots  slots
}

// New returns an empty ledger that decides nothing yet.
func New(config Config) *Ledger {
	return &Ledger{
		config: config,
		books:  map[types.NamespacedName]*book{},
		pods:   map[podruntime.Key]*pod{},
		claims: map[types.UID]*claim{},
		stored: map[podruntime.Key]*claim{},
		slots:  newSlots(config.StartLimit),
	}
}

// Open says that every stored pool and sandbox and every pod of the runtime has
// been told. Sandboxes whose pod is not among them are lost, pods that nobody
// has a use for are let go, and from here on pods are given out.
func (l *Ledger) Open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = true
	for _, c := range l.claims {
		if c.stage == Bound && c.pod == nil {
			l.loseLocked(c, v1alpha1.SandboxReasonPodLost, "the pod was gone when the server came back")
		}
	}
	for _, b := range l.books {
		l.reindexLocked(b)
		l.matchLocked(b)
		l.config.Listener.PoolChanged(b.key)
		l.config.Listener.QueueChanged(b.key)
	}
}

// IsOpen says whether Open was called.
func (l *Ledger) IsOpen() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

// Close stops the giving out of pods: from here on Reserve gives none.
func (l *Ledger) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = false
}

// bookLocked returns the book of a pool and makes one if there is none.
func (l *Ledger) bookLocked(key types.NamespacedName) *book {
	b, ok := l.books[key]
	if !ok {
		b = newBook(key)
		l.books[key] = b
	}
	return b
}

// tidyLocked drops a book that nothing speaks of any more.
func (l *Ledger) tidyLocked(b *book) {
	if b.pool == nil && len(b.pods) == 0 && b.claims == 0 {
		l.slots.leave(b)
		delete(l.books, b.key)
	}
}
