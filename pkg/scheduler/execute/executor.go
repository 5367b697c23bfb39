package execute

import (
	"context"
	"sync"
	"time"

	"github.com/google/btree"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	client "arl.io/arl/pkg/generated/clientset/versioned/typed/arl/v1alpha1"
	lister "arl.io/arl/pkg/generated/listers/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler/plan"
	"arl.io/arl/pkg/scheduler/timer"
	"arl.io/arl/pkg/scheduler/work"
)

const (
	// runningDelay is how long an execution has to last before the task's
	// status says Running: one that ends sooner costs a single write.
	runningDelay = 150 * time.Millisecond
	// stepInterval is the least time between two writes of which step runs.
	stepInterval = time.Second
	// noteDelay is how long a task has to wait before its status says for what, and largeNoteDelay
	// how long a large one has to: a write of it costs more than most waits are worth.
	noteDelay      = 500 * time.Millisecond
	largeNoteDelay = 10 * time.Second
	// guardMargin is how long after a task's timeout and grace, or after it was cancelled and its
	// grace, the agent may take to end the steps before it counts as lost.
	guardMargin = 30 * time.Second
	// endMargin is the same once the sandbox has ended: its pod is deleted then, whatever runs in it.
	endMargin = 5 * time.Second

	// Numbers of workers. Each spends its time waiting for a write.
	settleWorkers  = 8
	oneShotWorkers = 8
	deleteWorkers  = 4
	forgetWorkers  = 4

	firstRetry = 10 * time.Millisecond
	maxRetry   = 5 * time.Second
)

// Config is what an Executor needs. All fields are needed.
type Config struct {
	Client    client.ArlV1alpha1Interface
	Tasks     lister.TaskLister
	Sandboxes lister.SandboxLister
	Pools     lister.WarmPoolLister
	// Runtime is asked for the agents of pods, and for nothing else.
	Runtime podruntime.Runtime
	Timers  *timer.Queue
	Clock   clock.WithTicker
	// ActivityChanged is told that Activity of a sandbox has another answer. It
	// is called with the Executor's lock held and may only enqueue.
	ActivityChanged func(sandbox types.NamespacedName)
	// Abandon fails a sandbox in which something may run that nobody can account for, and has its
	// pod deleted. It never blocks.
	Abandon func(sandbox types.UID, reason, message string)
	// Retention is how long finished tasks without a TTL are kept.
	Retention time.Duration
	// RetentionBytes bounds the size of all finished tasks that are not to be retained. 0: no bound.
	RetentionBytes int64
	// MaxExecutions bounds the executions under way in all sandboxes together. They are shared among
	// namespaces: see slots.
	MaxExecutions int
	// OutputLimit bounds what of each of stdout and stderr is kept in a task's status, in bytes.
	OutputLimit int
	// SandboxGrace is how long a task waits for a sandbox that does not exist.
	SandboxGrace time.Duration
}

// Executor runs tasks. Its methods may be called concurrently.
type Executor struct {
	config Config
	// starts carries executions to Run. It holds as many as may be under way,
	// so that a send never blocks.
	starts chan *execution

	settles  *work.Queue[types.UID]
	notes    *work.Queue[types.UID]
	oneShots *work.Queue[types.UID]
	cleanups *work.Queue[types.NamespacedName]
	expired  *work.Queue[types.NamespacedName]
	forgets  *work.Queue[execID]
	audits   *work.Queue[types.NamespacedName]

	mu      sync.Mutex
	started bool
	boxes   map[types.NamespacedName]*box
	// tasks are those that have not ended, and those whose end the cache has
	// yet to show: without them a stale event would look like a new task.
	tasks map[types.UID]*entry
	// slots are the executions under way and the sandboxes with a task to start, uses the executions in
	// each pod.
	slots *slots
	uses  map[types.UID]*podUse
	// finished are the ended tasks that may be deleted for their size.
	finished *finishedTasks
}

// New returns an Executor that starts nothing before Start.
func New(config Config) *Executor {
	return &Executor{
		config:   config,
		starts:   make(chan *execution, config.MaxExecutions),
		settles:  work.NewQueue[types.UID]("tasks to settle", config.Timers),
		notes:    work.NewQueue[types.UID]("tasks to note", config.Timers),
		oneShots: work.NewQueue[types.UID]("tasks without a sandbox", config.Timers),
		cleanups: work.NewQueue[types.NamespacedName]("sandboxes of tasks", config.Timers),
		expired:  work.NewQueue[types.NamespacedName]("expired tasks", config.Timers),
		forgets:  work.NewQueue[execID]("executions to forget", config.Timers),
		audits:   work.NewQueue[types.NamespacedName]("sandboxes of before the start", config.Timers),
		boxes:    map[types.NamespacedName]*box{},
		tasks:    map[types.UID]*entry{},
		slots:    newSlots(config.MaxExecutions),
		uses:     map[types.UID]*podUse{},
		finished: newFinishedTasks(config.RetentionBytes),
	}
}

// Start says that every stored sandbox and task has been told. What was under
// way when the server ended is taken up, and tasks start from here on.
func (e *Executor) Start() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.started = true
	for _, b := range e.boxes {
		e.auditLocked(b)
		e.dispatchLocked(b)
		e.tidyLocked(b)
	}
	for _, b := range e.boxes {
		if b.audit.sandbox == "" {
			e.renewLocked(b)
		}
	}
}

// renewLocked has the tasks of a sandbox that were there when the server started wait as if they
// were new. What may have run before was first in its queue, and has been taken up by now.
func (e *Executor) renewLocked(b *box) {
	if b.queued {
		return
	}
	var waiting []*entry
	b.pending.Ascend(func(t *entry) bool {
		waiting = append(waiting, t)
		return true
	})
	for _, t := range waiting {
		t.restored = false
		e.awaitLocked(t)
	}
}

// Run works until ctx ends, and joins all it has started. Executions that are
// under way go on in their pods.
func (e *Executor) Run(ctx context.Context) {
	var rooms sync.WaitGroup
	rooms.Go(func() { e.settles.Run(ctx, settleWorkers, e.settle) })
	// One worker, so that the notes are written in the order in which the
	// tasks came: after a restart that is what tells which was first.
	rooms.Go(func() { e.notes.Run(ctx, 1, e.note) })
	rooms.Go(func() { e.oneShots.Run(ctx, oneShotWorkers, e.provide) })
	rooms.Go(func() { e.cleanups.Run(ctx, deleteWorkers, e.cleanUp) })
	rooms.Go(func() { e.expired.Run(ctx, deleteWorkers, e.expire) })
	rooms.Go(func() { e.forgets.Run(ctx, forgetWorkers, e.forget) })
	rooms.Go(func() { e.audits.Run(ctx, auditWorkers, e.audit) })
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case x := <-e.starts:
			rooms.Go(func() { e.execute(ctx, x) })
		}
	}
	rooms.Wait()
}

// Activity returns how many tasks of a sandbox are pending or running, and when
// the last one ended, which is zero if none has.
func (e *Executor) Activity(sandbox types.NamespacedName) (active int, lastEnd time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	b, ok := e.boxes[sandbox]
	if !ok {
		return 0, time.Time{}
	}
	return b.active(), b.lastEnd
}

// box is what the Executor knows of one sandbox, by name: it exists as long as
// a sandbox or a task that has not ended speaks of that name.
type box struct {
	key types.NamespacedName
	// sandbox is nil while there is none of that name.
	sandbox *v1alpha1.Sandbox
	// pending are the tasks to start, in the order of plan.Turn.
	pending *btree.BTreeG[*entry]
	running map[*entry]struct{}
	// settling counts the tasks whose end is being written without their
	// having been started.
	settling int
	lastEnd  time.Time
	// condemned is the UID of the sandbox if something may run in it that nobody can account for: it
	// gets no other task, and is about to fail.
	condemned types.UID
	// audit says whether the sandbox has still to be asked for steps of before the start.
	audit audited
	// queued says that the box is in Executor.slots.
	queued bool
}

// runningNow counts the executions in the sandbox that has the name now. Those of one before it
// that was deleted may be in their grace still.
func (b *box) runningNow() int {
	n := 0
	for t := range b.running {
		if t.execution.sandbox.UID == b.sandbox.UID {
			n++
		}
	}
	return n
}

func (b *box) active() int { return b.pending.Len() + len(b.running) + b.settling }

// stage is where a task stands.
type stage int

const (
	// pending: to be started when it is its turn.
	pending stage = iota
	// settling: ends without being started; its verdict is to be written.
	settling
	// running: an execution looks after it.
	running
	// ended: that is stored, or the task is gone. Nothing is left to be done.
	ended
)

// entry is a task. Executor.mu guards its fields but uid, key and turn, which do not change.
type entry struct {
	uid  types.UID
	key  types.NamespacedName
	turn plan.Turn

	box   *box
	task  *v1alpha1.Task
	stage stage
	// attempt is the one that runs or is to be made next, from 1.
	attempt int32
	// begun says that the attempt may have been begun already, by the server
	// before this one: the agent is asked for it, and not to run it.
	begun bool
	// restored says that the task was there when the server started.
	restored bool
	// notBefore is when the attempt may be made, after one that failed.
	notBefore time.Time
	// refusals counts the creates of its sandbox that a quota refused; blocked says why the last was, for
	// the status.
	refusals int
	blocked  string
	// gone says that the task was deleted; finished, that the cache shows its end.
	gone, finished bool
	// verdict is set while settling.
	verdict *verdict
	// refused is the verdict that the server has refused to store in any form.
	refused *verdict
	// execution is set while running.
	execution *execution
}

// cancelled says whether the task is to be ended, or is ended already.
func (t *entry) cancelled() bool {
	return t.gone || t.finished || t.task.Spec.Cancel || t.task.DeletionTimestamp != nil
}

// boxLocked returns the box of a sandbox and makes one if there is none.
func (e *Executor) boxLocked(key types.NamespacedName) *box {
	b, ok := e.boxes[key]
	if !ok {
		b = &box{
			key:     key,
			pending: btree.NewG(16, func(a, b *entry) bool { return a.turn.Before(b.turn) }),
			running: map[*entry]struct{}{},
		}
		e.boxes[key] = b
	}
	return b
}

// tidyLocked drops a box that nothing speaks of any more.
func (e *Executor) tidyLocked(b *box) {
	if e.started && b.sandbox == nil && b.active() == 0 {
		delete(e.boxes, b.key)
	}
}
