package ledger

import (
	"container/list"
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/podruntime"
)

// podState is what a pod is to the ledger.
type podState int

const (
	// starting: ordered, and not ready yet, or not known to be unused yet; or kept from taking work by
	// its probes or readiness gates.
	starting podState = iota
	// idle: ready, and nobody's.
	idle
	// taken: a claim's.
	taken
	// leaving: its deletion was ordered.
	leaving
)

// pod is one entry. Its UID is empty until the runtime has told it.
type pod struct {
	podruntime.Pod
	state podState
	// claim is set while the pod is taken.
	claim *claim
	book  *book
	// adopted says that this ledger did not order the pod itself; foundReady, that it was fit when it
	// was first seen.
	adopted, foundReady bool
	// counted says that the book counts the pod; element is its place on a shelf.
	counted bool
	element *list.Element
}

// Observe tells of a pod the runtime has, or of a change of it.
func (l *Ledger) Observe(event podruntime.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := event.Pod
	seen.Message = bounded(seen.Message)
	p := l.pods[seen.Key]
	if p != nil && p.UID != "" && p.UID != seen.UID {
		if event.Deleted {
			return
		}
		l.removeLocked(p, "the pod was replaced by another of its name")
		p = nil
	}
	if event.Deleted {
		if p != nil {
			l.removeLocked(p, lossOf(seen, "the pod was deleted"))
		}
		return
	}
	if p == nil {
		p = l.adoptLocked(seen)
	}
	l.updateLocked(p, seen)
}

// adoptLocked enters a pod that the ledger did not order itself.
func (l *Ledger) adoptLocked(seen podruntime.Pod) *pod {
	b := l.bookLocked(types.NamespacedName{Namespace: seen.Namespace, Name: seen.Pool})
	p := &pod{Pod: seen, state: starting, book: b, adopted: true, foundReady: fit(seen)}
	// Its phase is told by the update that follows.
	p.Phase = podruntime.Starting
	l.pods[seen.Key] = p
	b.pods[p] = struct{}{}
	if c := l.stored[seen.Key]; c != nil && c.podUID == seen.UID && c.stage == Bound && c.pod == nil {
		p.state, p.claim, c.pod = taken, c, p
	}
	b.put(p)
	l.orphanLocked(p)
	l.config.Listener.PoolChanged(b.key)
	return p
}

// updateLocked carries a pod forward to what was seen of it. The order in which a pod's
// creator and the runtime's handler tell of it does not matter: phases only go forward.
func (l *Ledger) updateLocked(p *pod, seen podruntime.Pod) {
	if p.Phase == podruntime.Failed || (p.Phase == podruntime.Ready && seen.Phase == podruntime.Starting) {
		return
	}
	reason, message := p.Reason, p.Message
	// What the pod was made for is known since it was entered.
	seen.Pool, seen.PoolUID, seen.TemplateHash = p.Pool, p.PoolUID, p.TemplateHash
	p.Pod = seen
	switch {
	case seen.Phase == podruntime.Failed:
		l.failLocked(p)
	case seen.Unready && p.state == idle:
		l.moveLocked(p, starting)
	case fit(seen) && p.state == starting && p.adopted:
		l.config.Listener.PodUnproven(p.Key, p.UID)
	case fit(seen) && p.state == starting:
		p.book.started()
		l.shelveLocked(p)
	case p.state == starting && (seen.Reason != reason || (reason != "" && seen.Message != message)):
		// A pod that waits for something costs nothing meanwhile.
		l.releaseLocked(p)
		l.config.Listener.PoolChanged(p.book.key)
	}
}

// fit says that a pod can be given to a sandbox, as far as the runtime can say.
func fit(p podruntime.Pod) bool { return p.Phase == podruntime.Ready && !p.Unready }

// Prove tells what the agent of an unproven pod says: whether anything ever ran
// in it. A pod that was used is let go, unless it is somebody's by now.
func (l *Ledger) Prove(key podruntime.Key, uid types.UID, used bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pods[key]
	switch {
	case p == nil || p.UID != uid || p.state != starting || p.Phase != podruntime.Ready:
	case used:
		l.leaveLocked(p)
	case !p.Unready: // else it is asked again once it is ready
		if !p.foundReady {
			p.book.started()
		}
		l.shelveLocked(p)
	}
}

// failLocked deals with a pod that has failed: its sandbox loses it, and it is
// let go. A pod that fails before anybody used it is its pool's trouble.
func (l *Ledger) failLocked(p *pod) {
	switch p.state {
	case leaving:
		return
	case taken:
		l.dispossessLocked(p, lossOf(p.Pod, "the pod failed"))
	default:
		if p.book.owns(p) && p.TemplateHash == p.book.hash {
			p.book.failed(l.config.Clock.Now(), p.Reason, p.Message, 0)
		}
	}
	l.leaveLocked(p)
}

// LoseAgent reports that the agent of a pod does not answer any more, or has broken the protocol: the
// reason is podruntime.ReasonAgentLost or ReasonAgentProtocolViolation. The pod counts as failed: its
// sandbox fails with the same reason, and the pod is deleted. It does nothing if the pod is not Ready.
func (l *Ledger) LoseAgent(key podruntime.Key, uid types.UID, reason, message string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pods[key]
	if p == nil || p.UID != uid || p.Phase != podruntime.Ready {
		return
	}
	p.Phase, p.Reason, p.Message = podruntime.Failed, reason, bounded(message)
	l.failLocked(p)
}

// removeLocked takes out a pod that is gone.
func (l *Ledger) removeLocked(p *pod, why string) {
	if p.state == taken {
		l.dispossessLocked(p, why)
	}
	if p.Phase == podruntime.Ready {
		p.book.relieved(l.config.Clock.Now())
	}
	l.releaseLocked(p)
	p.book.pull(p)
	delete(p.book.pods, p)
	if l.pods[p.Key] == p {
		delete(l.pods, p.Key)
	}
	l.config.Listener.PoolChanged(p.book.key)
	l.tidyLocked(p.book)
}

// Gone tells that the runtime knows no such pod. It is for pods whose deletion
// was ordered: their handler's event may have been told before the order.
func (l *Ledger) Gone(key podruntime.Key, uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.pods[key]; p != nil && p.UID == uid && p.state == leaving {
		l.removeLocked(p, "the pod was deleted")
	}
}

// shelveLocked makes a pod idle and gives it to who waits; or has it wait, too, if its probes do not
// let it take work.
func (l *Ledger) shelveLocked(p *pod) {
	if p.Unready {
		l.moveLocked(p, starting)
	} else {
		l.moveLocked(p, idle)
		if p.counted && p.TemplateHash == p.book.hash {
			p.book.proven = true
		}
	}
	l.orphanLocked(p)
	l.matchLocked(p.book)
}

// leaveLocked lets a pod go.
func (l *Ledger) leaveLocked(p *pod) {
	l.moveLocked(p, leaving)
	l.config.Listener.PodUnwanted(p.Key, p.UID)
}

// moveLocked changes a pod's state, and the counts with it.
func (l *Ledger) moveLocked(p *pod, state podState) {
	l.releaseLocked(p)
	p.book.pull(p)
	p.state = state
	if state != taken {
		p.claim = nil
	}
	p.book.put(p)
	l.config.Listener.PoolChanged(p.book.key)
}

// lossOf says for humans how a pod was lost: in the runtime's words, if it has any.
func lossOf(p podruntime.Pod, otherwise string) string {
	switch {
	case p.Reason != "" && p.Message != "":
		return fmt.Sprintf("%s: %s", p.Reason, p.Message)
	case p.Reason != "" || p.Message != "":
		return p.Reason + p.Message
	default:
		return otherwise
	}
}
