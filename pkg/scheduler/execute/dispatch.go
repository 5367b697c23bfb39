package execute

import (
	"fmt"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/oneshot"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler/plan"
)

// dispatchLocked starts what can be started in a sandbox, or ends what is left in one that is dead.
func (e *Executor) dispatchLocked(b *box) {
	if !e.started || b.sandbox == nil {
		return
	}
	if l, isDead := e.dead(b.sandbox); isDead {
		e.loseLocked(b, l)
		return
	}
	if !b.queued && e.startableLocked(b) {
		b.queued = true
		e.slots.queue(b)
	}
	e.startNextLocked()
}

// startNextLocked starts tasks for as long as there is room for executions: one of each sandbox in
// turn, so that a sandbox with many tasks is not ahead of one with few, and a namespace with many
// sandboxes is not ahead of another.
func (e *Executor) startNextLocked() {
	for b := e.slots.next(); b != nil; b = e.slots.next() {
		b.queued = false
		if !e.startableLocked(b) {
			continue
		}
		t, _ := b.pending.DeleteMin()
		if t.task.Spec.PoolRef != "" && oneshot.Owner(b.sandbox) != t.uid {
			e.settleLocked(t, foreignVerdict(t))
		} else {
			e.startLocked(t)
		}
		if e.startableLocked(b) {
			b.queued = true
			e.slots.queue(b)
		}
	}
}

// startableLocked says whether a sandbox has a task that may start now.
func (e *Executor) startableLocked(b *box) bool {
	if b.sandbox == nil || b.sandbox.Status.Phase != v1alpha1.SandboxReady || b.sandbox.DeletionTimestamp != nil {
		return false
	}
	if b.condemned == b.sandbox.UID {
		return false
	}
	if plan.Startable(b.sandbox.Spec.MaxConcurrentTasks, b.runningNow(), b.pending.Len()) == 0 {
		return false
	}
	first, _ := b.pending.Min()
	if b.holds(first) {
		return false
	}
	return !e.config.Clock.Now().Before(first.notBefore)
}

// execution is one attempt at a task under way.
type execution struct {
	entry *entry
	id    execID
	// sandbox is the one it runs in, as it was at the start.
	sandbox *v1alpha1.Sandbox
	task    *v1alpha1.Task
	attempt int32
	// begun says that the agent is to be asked for it, and not to run it.
	begun     bool
	startedAt time.Time
	// earliest is when its steps may have begun: before startedAt if a server before this one may have
	// started it.
	earliest time.Time
	// wake tells follow to look at the fields below.
	wake chan struct{}
	// progress is how far the steps have come.
	progress progress
	// posted says that the agent may have been asked to run it: steps may run.
	posted atomic.Bool

	// Executor.mu guards what follows.

	// lost is set when the sandbox is; loss says why.
	lost *verdict
	loss loss
	// runningDue, stepsDue and guardDue say that these timers have fired.
	runningDue, stepsDue, guardDue bool
}

// execID names an execution and where it runs.
type execID struct {
	pod    podruntime.Key
	podUID types.UID
	// sandbox is the one that has the pod.
	sandbox types.UID
	id      string
	// traceID is the task's, for logs.
	traceID string
}

// podOf returns the ID of no execution yet, in the pod of a sandbox.
func podOf(sandbox *v1alpha1.Sandbox) execID {
	return execID{
		pod:    podruntime.Key{Namespace: sandbox.Namespace, Name: sandbox.Status.PodName},
		podUID: sandbox.Status.PodUID, sandbox: sandbox.UID,
	}
}

// executionID names the attempt that a task is at.
func executionID(t *entry) string { return fmt.Sprintf("%s-%d", t.uid, t.attempt) }

// poke wakes follow. It never blocks.
func (x *execution) poke() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// startLocked hands a task, which is out of its queue already, to Run.
func (e *Executor) startLocked(t *entry) {
	sandbox := t.box.sandbox
	id := podOf(sandbox)
	id.id, id.traceID = executionID(t), t.task.Spec.TraceID
	x := &execution{
		entry:     t,
		id:        id,
		sandbox:   sandbox,
		task:      t.task,
		attempt:   t.attempt,
		begun:     t.begun || t.restored && t.cancelled(),
		startedAt: e.config.Clock.Now(),
		wake:      make(chan struct{}, 1),
	}
	x.earliest = earliestStart(t, x.startedAt)
	if t.cancelled() {
		x.poke()
	}
	t.stage, t.execution = running, x
	t.box.running[t] = struct{}{}
	e.slots.take(t.box.key.Namespace)
	e.useLocked(x.id.podUID)
	e.stopTimers(t)
	e.starts <- x
}

// endLocked notes that there is nothing left to be done for a task, whatever
// stage it was in but pending in a queue.
func (e *Executor) endLocked(t *entry) {
	e.leaveLocked(t)
	t.stage = ended
	e.stopTimers(t)
	if t.finished || t.gone {
		delete(e.tasks, t.uid)
	}
	e.afterLocked(t.box)
}

// leaveLocked takes a task out of the stage it is in.
func (e *Executor) leaveLocked(t *entry) {
	switch t.stage {
	case settling:
		t.box.settling--
		t.verdict = nil
	case running:
		delete(t.box.running, t)
		t.execution = nil
		e.slots.give(t.box.key.Namespace)
	}
}

// afterLocked goes on with a sandbox after one of its tasks has left it.
func (e *Executor) afterLocked(b *box) {
	if b.sandbox != nil {
		b.lastEnd = e.config.Clock.Now()
		if oneshot.Owner(b.sandbox) != "" {
			e.cleanups.Add(b.key)
		}
	}
	e.config.ActivityChanged(b.key)
	e.dispatchLocked(b)
	e.startNextLocked()
	e.tidyLocked(b)
}

// again queues a task for its next attempt. Stored is the task as it was written;
// a later state, such as one that says to cancel it, may have been seen since.
func (e *Executor) again(t *entry, stored *v1alpha1.Task, wait time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.leaveLocked(t)
	before := t.box
	if plan.Arrival(stored.ResourceVersion) > plan.Arrival(t.task.ResourceVersion) {
		trim(stored)
		t.task = stored
	}
	t.attempt++
	t.begun, t.restored = false, false
	t.notBefore = e.config.Clock.Now().Add(wait)
	e.queueLocked(t)
	e.afterLocked(before)
	switch {
	case t.gone:
		t.box.pending.Delete(t)
		e.endLocked(t)
	case t.cancelled():
		e.settleLocked(t, cancelledVerdict())
	default:
		e.config.Timers.Set(timerKey{t.uid, timeRetry}, t.notBefore, func() { e.retryDue(t) })
	}
}

// retryDue starts the next attempt, or what has to come before it.
func (e *Executor) retryDue(t *entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t.stage == pending {
		e.awaitLocked(t)
		e.dispatchLocked(t.box)
	}
}
