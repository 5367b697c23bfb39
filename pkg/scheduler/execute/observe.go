package execute

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/oneshot"
	"arl.io/arl/pkg/scheduler/plan"
)

// Kinds of timers of a task.
const (
	timeNote    = "note"
	timeGrace   = "grace"
	timeRetry   = "retry"
	timeQuota   = "quota"
	timeExpiry  = "expiry"
	timeRunning = "running"
	timeSteps   = "steps"
	timeGuard   = "guard"
)

// timerKey is the key of a task's timer.
type timerKey struct {
	task types.UID
	what string
}

// SetTask tells of a stored task, or of a change of it.
func (e *Executor) SetTask(task *v1alpha1.Task) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if plan.Finished(task) {
		e.finishedLocked(task)
		return
	}
	t, known := e.tasks[task.UID]
	if !known {
		e.admitLocked(task)
		return
	}
	e.takeLocked(t, task)
}

// takeLocked takes in a state of a known task, whoever brings it, unless there
// is a later one. A cancel is heeded by whoever is the first to bring it.
func (e *Executor) takeLocked(t *entry, task *v1alpha1.Task) {
	if plan.Arrival(task.ResourceVersion) < plan.Arrival(t.task.ResourceVersion) {
		return
	}
	if t.stage == ended {
		e.resettleLocked(t, task)
		return
	}
	was := t.cancelled()
	t.task = task
	if t.cancelled() && !was {
		e.cancelLocked(t)
	}
}

// resettleLocked has the end of a task written once more that the server has refused to store, after the
// task was changed.
func (e *Executor) resettleLocked(t *entry, task *v1alpha1.Task) {
	if t.refused == nil || t.gone || task.ResourceVersion == t.task.ResourceVersion {
		return
	}
	t.task, t.verdict, t.refused = task, t.refused, nil
	t.box = e.boxLocked(t.box.key)
	t.box.settling++
	t.stage = settling
	e.settles.Add(t.uid)
}

// admitLocked enters a task that is seen for the first time.
func (e *Executor) admitLocked(task *v1alpha1.Task) {
	t := &entry{
		uid:      task.UID,
		key:      types.NamespacedName{Namespace: task.Namespace, Name: task.Name},
		turn:     plan.TurnOf(task),
		task:     task,
		attempt:  plan.Attempt(&task.Status),
		begun:    task.Status.State == v1alpha1.TaskRunning,
		restored: !e.started,
	}
	e.tasks[t.uid] = t
	e.queueLocked(t)
	if !e.started {
		return
	}
	if !t.cancelled() {
		e.dispatchLocked(t.box)
	}
	e.awaitLocked(t)
}

// queueLocked puts a task in the queue of the sandbox of its next attempt.
func (e *Executor) queueLocked(t *entry) {
	t.stage, t.refusals, t.blocked = pending, 0, ""
	t.box = e.boxLocked(boxKey(t.task, t.attempt))
	t.box.pending.ReplaceOrInsert(t)
	if t.box.active() == 1 {
		e.config.ActivityChanged(t.box.key)
	}
}

// awaitLocked sees to it that a pending task does not wait in vain: it ends if
// it is cancelled, gets its sandbox, or ends when none appears.
func (e *Executor) awaitLocked(t *entry) {
	now := e.config.Clock.Now()
	switch {
	case t.stage != pending:
		return
	case t.cancelled() && mayRun(t):
		// The agent is asked whether it runs, and told to end it.
		return
	case t.cancelled():
		e.settleLocked(t, cancelledVerdict())
		return
	case t.box.sandbox != nil:
	case t.begun:
		e.settleLocked(t, goneVerdict(t))
		return
	case t.task.Spec.PoolRef != "":
		e.oneShots.Add(t.uid)
	default:
		e.config.Timers.Set(timerKey{t.uid, timeGrace}, now.Add(e.config.SandboxGrace), func() { e.graceOver(t.uid) })
	}
	if t.task.Status.ObservedGeneration == 0 {
		delay := noteDelay
		if abridged(t.task) {
			delay = largeNoteDelay
		}
		e.config.Timers.Set(timerKey{t.uid, timeNote}, now.Add(delay), func() { e.notes.Add(t.uid) })
	}
}

// graceOver ends a task whose sandbox has not appeared.
func (e *Executor) graceOver(uid types.UID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t, ok := e.tasks[uid]; ok && t.stage == pending && t.box.sandbox == nil {
		e.settleLocked(t, missingVerdict(t))
	}
}

// cancelLocked ends a task that is to be ended.
func (e *Executor) cancelLocked(t *entry) {
	switch t.stage {
	case pending:
		e.awaitLocked(t)
	case running:
		t.execution.poke()
	}
}

// mayRun says whether a pending task may be running in its sandbox since before
// the server was restarted.
func mayRun(t *entry) bool {
	return (t.begun || t.restored) && t.box.sandbox != nil && t.box.sandbox.Status.PodName != ""
}

// settleLocked takes a pending task out of its queue, to be ended.
func (e *Executor) settleLocked(t *entry, v verdict) {
	t.box.pending.Delete(t)
	t.box.settling++
	t.stage, t.verdict = settling, &v
	e.stopTimers(t)
	e.settles.Add(t.uid)
}

// stopTimers stops the timers of a task that is not pending any more.
func (e *Executor) stopTimers(t *entry) {
	for _, what := range []string{timeNote, timeGrace, timeRetry} {
		e.config.Timers.Stop(timerKey{t.uid, what})
	}
}

// finishedLocked deals with a task that has ended: it is kept for its time.
func (e *Executor) finishedLocked(task *v1alpha1.Task) {
	e.retainLocked(task)
	t, known := e.tasks[task.UID]
	if !known {
		if end := task.Status.CompletionTime; !e.started && end != nil && task.Spec.SandboxRef != "" {
			b := e.boxLocked(boxKey(task, 1))
			b.lastEnd = later(b.lastEnd, end.Time)
		}
		return
	}
	t.finished = true
	switch t.stage {
	case ended:
		delete(e.tasks, t.uid)
	case pending:
		// Its end was not written here.
		t.box.pending.Delete(t)
		e.endLocked(t)
	case running:
		// Nor this one, unless the execution is just about to say so.
		t.execution.poke()
	}
}

// DropTask tells that a task is gone. What runs of it is stopped.
func (e *Executor) DropTask(task *v1alpha1.Task) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.config.Timers.Stop(timerKey{task.UID, timeExpiry})
	e.finished.drop(task)
	t, known := e.tasks[task.UID]
	if !known {
		return
	}
	t.gone = true
	switch t.stage {
	case pending:
		t.box.pending.Delete(t)
		e.endLocked(t)
	case ended:
		delete(e.tasks, t.uid)
	case running:
		t.execution.poke()
		e.cleanups.Add(t.box.key)
	}
}

// SetSandbox tells of a stored sandbox, or of a change of it.
func (e *Executor) SetSandbox(sandbox *v1alpha1.Sandbox) {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.boxLocked(types.NamespacedName{Namespace: sandbox.Namespace, Name: sandbox.Name})
	if b.sandbox != nil && b.sandbox.UID != sandbox.UID {
		e.loseLocked(b, e.deleted(b.sandbox))
		b.lastEnd = time.Time{}
	}
	if b.sandbox == nil {
		b.pending.Ascend(func(t *entry) bool {
			e.config.Timers.Stop(timerKey{t.uid, timeGrace})
			return true
		})
	}
	b.sandbox = sandbox
	if oneshot.Owner(sandbox) != "" {
		e.cleanups.Add(b.key)
	}
	e.dispatchLocked(b)
}

// DropSandbox tells that a sandbox is gone. Its tasks end with it.
func (e *Executor) DropSandbox(sandbox *v1alpha1.Sandbox) {
	e.mu.Lock()
	defer e.mu.Unlock()
	b, ok := e.boxes[types.NamespacedName{Namespace: sandbox.Namespace, Name: sandbox.Name}]
	if !ok || b.sandbox == nil || b.sandbox.UID != sandbox.UID {
		return
	}
	e.loseLocked(b, e.deleted(b.sandbox))
	b.sandbox, b.lastEnd = nil, time.Time{}
	e.tidyLocked(b)
}

// loseLocked ends all tasks of a sandbox that runs nothing any more.
func (e *Executor) loseLocked(b *box, l loss) {
	for t := range b.running {
		x := t.execution
		if x.sandbox.UID != b.sandbox.UID || x.lost != nil && !x.loss.graceful {
			continue
		}
		v := lostVerdict(t, b.sandbox, l)
		if x.lost != nil {
			// Its pod went while it was in its grace: why it ends stays the same.
			v = *x.lost
		}
		x.lost, x.loss = &v, l
		x.poke()
	}
	for {
		t, ok := b.pending.Min()
		if !ok {
			return
		}
		e.settleLocked(t, lostVerdict(t, b.sandbox, l))
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
