package ledger

import (
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler/plan"
)

// Stage is where a sandbox stands with the ledger.
type Stage int

// Stages of a sandbox.
const (
	// Unknown: the ledger does not know the sandbox, or is done with it.
	Unknown Stage = iota
	// Waiting: it is in the queue of its pool.
	Waiting
	// Reserved: it has a pod, and its create is on the way to the storage.
	Reserved
	// Granted: it has a pod, and its status has yet to say so.
	Granted
	// Bound: its status says which pod it has.
	Bound
	// Ended: it gets no pod, or has lost the one it had; the reason says why.
	Ended
)

// claim is a sandbox that waits for a pod or has one.
type claim struct {
	uid     types.UID
	key     types.NamespacedName
	book    *book
	place   plan.Place
	sandbox *v1alpha1.Sandbox
	stage   Stage
	// pod is set from Reserved to Bound, unless it is lost. PodKey and podUID
	// go on naming it after that.
	pod             *pod
	podKey          podruntime.Key
	podUID          types.UID
	reason, message string
}

// Standing is what the ledger says of a sandbox.
type Standing struct {
	Stage Stage
	// Pod is the sandbox's, if Stage is Granted or Bound.
	Pod podruntime.Pod
	// Reason and Message say why Stage is Ended.
	Reason, Message string
}

// Standing returns where a sandbox stands.
func (l *Ledger) Standing(uid types.UID) Standing {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.claims[uid]
	if !ok {
		return Standing{}
	}
	s := Standing{Stage: c.stage, Reason: c.reason, Message: c.message}
	if c.pod != nil {
		s.Pod = c.pod.Pod
	}
	return s
}

// SetSandbox tells of a stored sandbox, or of a change of it. It may be told of
// an older state than one that the ledger has caused since: a sandbox that
// has a pod does not go back to waiting for that.
func (l *Ledger) SetSandbox(sandbox *v1alpha1.Sandbox) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.claims[sandbox.UID]
	switch {
	case sandbox.DeletionTimestamp != nil || sandbox.Status.Phase == v1alpha1.SandboxFailed:
		l.dropLocked(sandbox)
	case sandbox.Status.PodName != "":
		if c == nil {
			c = l.claimLocked(sandbox)
		}
		l.bindLocked(c, podruntime.Key{Namespace: sandbox.Namespace, Name: sandbox.Status.PodName}, sandbox.Status.PodUID)
	case c == nil:
		c = l.claimLocked(sandbox)
		l.waitLocked(c)
		l.matchLocked(c.book)
	}
}

// DropSandbox tells that a sandbox is gone, and lets go its pod. The sandbox is
// as last seen.
func (l *Ledger) DropSandbox(sandbox *v1alpha1.Sandbox) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropLocked(sandbox)
}

// GiveUp ends the wait of a sandbox whose allocation timeout is over, and returns where it stands
// then. It returns false, and does nothing, if the sandbox does not wait.
func (l *Ledger) GiveUp(uid types.UID) (Standing, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.claims[uid]
	if !ok || c.stage != Waiting {
		return Standing{}, false
	}
	why := l.causeLocked(c.book)
	l.unqueueLocked(c)
	l.spareLocked(c.book)
	c.stage, c.reason = Ended, v1alpha1.SandboxReasonAllocationTimeout
	c.message = "the allocation timeout is over: " + why.message
	if why.reason == v1alpha1.SandboxReasonWaitingForPod {
		c.message = fmt.Sprintf("the allocation timeout is over, and pool %q had no idle pod: raise its spec.replicas, or allow more time", c.book.key.Name)
	}
	return Standing{Stage: Ended, Reason: c.reason, Message: c.message}, true
}

// Confirm tells that the status of a sandbox, as stored now, names the pod. If
// the pod was lost while that was written, the sandbox is lost with it.
func (l *Ledger) Confirm(uid types.UID, key podruntime.Key, podUID types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c, ok := l.claims[uid]; ok {
		l.bindLocked(c, key, podUID)
	}
}

// claimLocked enters a sandbox.
func (l *Ledger) claimLocked(sandbox *v1alpha1.Sandbox) *claim {
	b := l.bookLocked(types.NamespacedName{Namespace: sandbox.Namespace, Name: sandbox.Spec.PoolRef})
	c := &claim{
		uid:     sandbox.UID,
		key:     types.NamespacedName{Namespace: sandbox.Namespace, Name: sandbox.Name},
		book:    b,
		place:   plan.PlaceOf(sandbox),
		sandbox: sandbox,
	}
	b.claims++
	l.claims[c.uid] = c
	return c
}

func (l *Ledger) waitLocked(c *claim) {
	c.stage = Waiting
	c.book.waiting.ReplaceOrInsert(c)
	l.config.Listener.QueueChanged(c.book.key)
	l.config.Listener.PoolChanged(c.book.key)
	l.config.Listener.SandboxChanged(c.key)
}

func (l *Ledger) unqueueLocked(c *claim) {
	c.book.waiting.Delete(c)
	l.config.Listener.QueueChanged(c.book.key)
	l.config.Listener.PoolChanged(c.book.key)
}

// matchLocked gives idle pods to the sandboxes that wait, in their order.
func (l *Ledger) matchLocked(b *book) {
	if !l.open || !b.serves() {
		return
	}
	for {
		c, ok := b.waiting.Min()
		if !ok {
			return
		}
		if missing := plan.Insufficient(c.sandbox, b.pool); missing != "" {
			l.unqueueLocked(c)
			c.stage = Ended
			c.reason = v1alpha1.SandboxReasonInsufficientResources
			c.message = fmt.Sprintf("the pods of pool %q are too small (%s): ask for less in spec.resources, or use a pool with larger requests", b.key.Name, missing)
			l.config.Listener.SandboxChanged(c.key)
			continue
		}
		p := b.pick()
		if p == nil {
			return
		}
		l.unqueueLocked(c)
		l.takeLocked(c, p, Granted)
		l.config.Listener.SandboxChanged(c.key)
	}
}

// takeLocked gives a pod to a claim.
func (l *Ledger) takeLocked(c *claim, p *pod, stage Stage) {
	l.moveLocked(p, taken)
	p.claim = c
	c.stage, c.pod, c.podKey, c.podUID = stage, p, p.Key, p.UID
}

// bindLocked makes the ledger agree with a stored binding.
func (l *Ledger) bindLocked(c *claim, key podruntime.Key, uid types.UID) {
	if c.stage == Ended || (c.stage == Bound && c.podKey == key && c.podUID == uid) {
		return
	}
	if c.stage == Waiting {
		l.unqueueLocked(c)
	}
	if c.pod != nil && (c.pod.Key != key || c.pod.UID != uid) {
		// Another pod was chosen for it meanwhile, which nobody has used.
		other := c.pod
		c.pod = nil
		l.shelveLocked(other)
	}
	c.stage, c.podKey, c.podUID = Bound, key, uid
	if first := l.stored[key]; first != nil && first != c && first.podUID == uid {
		l.loseLocked(c, v1alpha1.SandboxReasonPodLost, fmt.Sprintf("the pod belongs to sandbox %q", first.key.Name))
		return
	}
	l.stored[key] = c
	if c.pod != nil {
		return
	}
	p := l.pods[key]
	switch {
	case p != nil && p.UID == uid && p.state != leaving:
		if p.claim != nil {
			l.dispossessLocked(p, fmt.Sprintf("the pod belongs to sandbox %q", c.key.Name))
		}
		l.takeLocked(c, p, Bound)
	case l.open || p != nil && p.UID == uid:
		l.loseLocked(c, v1alpha1.SandboxReasonPodLost, "the pod is gone")
	}
}

// dispossessLocked takes a pod away from its claim. A sandbox that was not told
// of the pod waits for another one.
func (l *Ledger) dispossessLocked(p *pod, why string) {
	c := p.claim
	p.claim, c.pod = nil, nil
	switch c.stage {
	case Granted:
		l.waitLocked(c)
		l.matchLocked(c.book)
	case Reserved:
		c.reason, c.message = lossReason(p.Pod), why
	case Bound:
		l.loseLocked(c, lossReason(p.Pod), why)
	}
}

// lossReason is why a sandbox fails whose pod is as given.
func lossReason(p podruntime.Pod) string {
	if p.Phase != podruntime.Failed {
		return v1alpha1.SandboxReasonPodLost
	}
	switch p.Reason {
	case podruntime.ReasonAgentLost:
		return v1alpha1.SandboxReasonAgentLost
	case podruntime.ReasonAgentProtocolViolation:
		return v1alpha1.SandboxReasonAgentProtocolViolation
	case podruntime.ReasonOOM:
		return v1alpha1.SandboxReasonOOMKilled
	case podruntime.ReasonDiskLimit:
		return v1alpha1.SandboxReasonDiskLimitExceeded
	case podruntime.ReasonDiskPressure:
		return v1alpha1.SandboxReasonDiskPressure
	default:
		return v1alpha1.SandboxReasonPodLost
	}
}

// loseLocked ends a claim whose pod is gone.
func (l *Ledger) loseLocked(c *claim, reason, why string) {
	if l.stored[c.podKey] == c {
		delete(l.stored, c.podKey)
	}
	c.stage, c.pod = Ended, nil
	c.reason = reason
	c.message = fmt.Sprintf("pod %q was lost: %s", c.podKey.Name, why)
	l.config.Listener.SandboxChanged(c.key)
}

// dropLocked forgets a sandbox. A pod that may have been used is let go; one
// that was only set aside is idle again.
func (l *Ledger) dropLocked(sandbox *v1alpha1.Sandbox) {
	c, ok := l.claims[sandbox.UID]
	if !ok {
		return
	}
	if c.stage == Waiting {
		l.unqueueLocked(c)
		l.spareLocked(c.book)
	}
	delete(l.claims, c.uid)
	if l.stored[c.podKey] == c {
		delete(l.stored, c.podKey)
	}
	c.book.claims--
	if p := c.pod; p != nil {
		used := c.stage == Bound || sandbox.Status.PodName != ""
		c.pod, p.claim = nil, nil
		if used {
			l.leaveLocked(p)
		} else {
			l.shelveLocked(p)
		}
	}
	l.tidyLocked(c.book)
}
