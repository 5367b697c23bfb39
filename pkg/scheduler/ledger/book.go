package ledger

import (
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/btree"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler/plan"
)

// book is what the ledger knows of one pool, by name: it exists as long as a
// pool, a pod or a sandbox speaks of that name.
type book struct {
	key types.NamespacedName
	// pool is nil while there is no pool of that name.
	pool *v1alpha1.WarmPool
	hash string
	// pods are all that carry the pool's name, also those of an earlier pool
	// of the same name.
	pods map[*pod]struct{}
	// shelves hold the pool's pods that no sandbox uses, by template hash.
	shelves map[string]*shelf
	inUse   int
	// waiting are the claims in stage Waiting, in the order of plan.Place.
	waiting *btree.BTreeG[*claim]
	// claims counts the sandboxes that refer to the pool, in any stage.
	claims int

	trouble trouble
	// proven says that a pod of the current template has been ready.
	proven bool
	// spare is how many pods to keep beyond what is wanted, until spareUntil.
	spare      int
	spareUntil time.Time
	// retired counts the deletions of the pool that are under way, or done.
	retired int
	// cause is why sandboxes waited when the pool was last filled.
	cause cause
	// turn is the pool's place among those that want slots, or nil.
	turn *list.Element
}

// shelf holds pods of one template hash.
type shelf struct {
	starting map[*pod]struct{}
	// idle has the pod that has waited longest in front.
	idle *list.List
}

// trouble is why pods cannot be started at present.
type trouble struct {
	// failures counts failed starts since the last quiet period.
	failures int
	last     time.Time
	// next is when another start may be tried.
	next time.Time
	// now says that no pod has become ready since the last failure.
	now             bool
	reason, message string
}

func newBook(key types.NamespacedName) *book {
	return &book{
		key:     key,
		pods:    map[*pod]struct{}{},
		shelves: map[string]*shelf{},
		waiting: btree.NewG(32, func(a, b *claim) bool { return a.place.Before(b.place) }),
	}
}

// serves says whether the pool gives out and starts pods.
func (b *book) serves() bool {
	return b.pool != nil && b.pool.DeletionTimestamp == nil && b.retired == 0
}

// owns says whether a pod was made for this very pool.
func (b *book) owns(p *pod) bool { return b.pool != nil && p.PoolUID == b.pool.UID }

// put counts a pod where its state says, and pull undoes it.
func (b *book) put(p *pod) {
	if !b.owns(p) {
		return
	}
	p.counted = true
	switch p.state {
	case starting:
		b.shelf(p.TemplateHash).starting[p] = struct{}{}
	case idle:
		p.element = b.shelf(p.TemplateHash).idle.PushBack(p)
	case taken:
		b.inUse++
	}
}

func (b *book) pull(p *pod) {
	if !p.counted {
		return
	}
	p.counted = false
	s := b.shelves[p.TemplateHash]
	switch p.state {
	case starting:
		delete(s.starting, p)
	case idle:
		s.idle.Remove(p.element)
		p.element = nil
	case taken:
		b.inUse--
		return
	}
	if s != nil && len(s.starting) == 0 && s.idle.Len() == 0 {
		delete(b.shelves, p.TemplateHash)
	}
}

func (b *book) shelf(hash string) *shelf {
	s, ok := b.shelves[hash]
	if !ok {
		s = &shelf{starting: map[*pod]struct{}{}, idle: list.New()}
		b.shelves[hash] = s
	}
	return s
}

// stock counts the pool's pods.
func (b *book) stock() plan.Stock {
	stock := plan.Stock{InUse: b.inUse}
	for hash, s := range b.shelves {
		of := &stock.Old
		if hash == b.hash {
			of = &stock.Current
		}
		of.Starting += len(s.starting)
		of.Idle += s.idle.Len()
	}
	return stock
}

// pick returns the idle pod to give out next, or nil.
func (b *book) pick() *pod {
	if s, ok := b.shelves[b.hash]; ok && s.idle.Len() > 0 {
		return s.idle.Front().Value.(*pod)
	}
	if !plan.MayGive(b.pool.Spec.UpdateStrategy.Type, 0) {
		return nil
	}
	var best *pod
	for _, s := range b.shelves {
		if s.idle.Len() == 0 {
			continue
		}
		if p := s.idle.Front().Value.(*pod); best == nil || p.CreatedAt.After(best.CreatedAt) {
			best = p
		}
	}
	return best
}

// Waits between attempts to start pods after failures. The longest is short
// enough for somebody who has mended an image to see it work.
const (
	firstStartWait = time.Second
	maxStartWait   = time.Minute
	// quiet is how long there must be no failure for the count to start anew.
	quiet = 2 * maxStartWait
)

// failed notes that a pod did not start, or ended before a sandbox used it.
// Failures that come while a wait is on belong to the same batch. The wait is at
// least as long as asked for, but never longer than the longest.
func (b *book) failed(now time.Time, reason, message string, atLeast time.Duration) {
	t := &b.trouble
	if now.Sub(t.last) > quiet {
		t.failures = 0
	}
	t.now, t.last, t.reason, t.message = true, now, reason, explain(reason, message)
	if !now.Before(t.next) {
		t.failures++
		t.next = now.Add(plan.Backoff(t.failures, firstStartWait, maxStartWait))
	}
	if asked := now.Add(min(atLeast, maxStartWait)); asked.After(t.next) {
		t.next = asked
	}
}

// started notes that a pod became ready.
func (b *book) started() {
	b.trouble.now, b.trouble.next = false, time.Time{}
}

// sated notes that no pod is wanted, so whether one could start is not known.
// How long to wait after the next failure is remembered.
func (b *book) sated() {
	b.trouble.now = false
}

// relieved notes that a pod that was in good order is gone. If a quota was what
// kept others from starting, there is room now, as soon as the cluster has counted.
func (b *book) relieved(now time.Time) {
	if t := &b.trouble; t.now && t.reason == podruntime.ReasonQuota {
		t.failures = 0
		if soon := now.Add(firstStartWait); soon.Before(t.next) {
			t.next = soon
		}
	}
}

// SetPool tells of a stored pool, or of a change of it.
func (l *Ledger) SetPool(pool *v1alpha1.WarmPool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bookLocked(types.NamespacedName{Namespace: pool.Namespace, Name: pool.Name})
	old := b.pool
	served := b.serves()
	b.pool = pool
	if old == nil || old.UID != pool.UID || old.Generation != pool.Generation {
		hash := TemplateHash(pool)
		if hash != b.hash {
			b.trouble = trouble{}
			s := b.shelves[hash]
			b.proven = s != nil && s.idle.Len() > 0
		}
		b.hash = hash
	}
	switch {
	case old == nil || old.UID != pool.UID:
		b.spare, b.retired = 0, 0
		b.recall(pool)
	case !ptr.Equal(old.Spec.Replicas, pool.Spec.Replicas):
		// Who scales a pool down wants the pods gone.
		b.spare = 0
	}
	if old == nil || old.UID != pool.UID || served != b.serves() {
		l.reindexLocked(b)
		l.config.Listener.QueueChanged(b.key)
	}
	l.matchLocked(b)
	l.config.Listener.PoolChanged(b.key)
}

// RetryMark comes in a pool's ReplicaFailure condition between what is wrong and when the server tries
// again.
const RetryMark = "; not tried again before "

// recall takes up what the stored status of a pool says of its current template, so that a restart of
// the server does not change the pool's conditions: whether a pod of it has been ready, and why pods
// could not be started. That is found out anew by the next start, which is not delayed.
func (b *book) recall(pool *v1alpha1.WarmPool) {
	status := &pool.Status
	if status.ObservedGeneration != pool.Generation {
		return
	}
	ready := meta.FindStatusCondition(status.Conditions, v1alpha1.WarmPoolConditionReady)
	b.proven = b.proven || status.UpdatedReplicas > 0 || ready != nil && ready.Reason == v1alpha1.WarmPoolReasonTemplateProven
	failure := meta.FindStatusCondition(status.Conditions, v1alpha1.WarmPoolConditionReplicaFailure)
	if failure != nil && failure.Status == metav1.ConditionTrue {
		message, _, _ := strings.Cut(failure.Message, RetryMark)
		b.trouble = trouble{now: true, last: failure.LastTransitionTime.Time, reason: failure.Reason, message: message}
	}
}

// DropPool tells that a pool is gone. Its pods that no sandbox uses are let go.
func (l *Ledger) DropPool(key types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.books[key]
	if !ok || b.pool == nil {
		return
	}
	for p := range b.pods {
		b.pull(p)
	}
	b.pool, b.hash, b.trouble, b.proven, b.retired = nil, "", trouble{}, false, 0
	l.reindexLocked(b)
	l.config.Listener.QueueChanged(key)
	l.config.Listener.PoolChanged(key)
	l.tidyLocked(b)
}

// reindexLocked counts the pods of a book anew, after another pool took its
// place or there is none any more, and lets go those that nobody can use.
func (l *Ledger) reindexLocked(b *book) {
	b.shelves, b.inUse = map[string]*shelf{}, 0
	for p := range b.pods {
		p.counted, p.element = false, nil
		b.put(p)
		l.orphanLocked(p)
	}
}

// orphanLocked lets go a pod that neither a sandbox nor its pool has a use for.
func (l *Ledger) orphanLocked(p *pod) {
	unused := p.state == starting || p.state == idle
	if l.open && unused && !(p.book.owns(p) && p.book.serves()) {
		l.leaveLocked(p)
	}
}

// TemplateHash identifies what a pool's pods are made from. It is the same for
// the same template and workDir, whatever else changes in the pool.
func TemplateHash(pool *v1alpha1.WarmPool) string {
	encoded, err := json.Marshal([]any{pool.Spec.Template, pool.Spec.WorkDir})
	if err != nil {
		// The template came in as JSON, so it can always go out as JSON.
		panic(fmt.Sprintf("encode the template of pool %s/%s: %v", pool.Namespace, pool.Name, err))
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:6])
}
