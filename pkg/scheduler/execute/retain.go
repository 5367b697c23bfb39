package execute

import (
	"cmp"

	"github.com/google/btree"
	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler/plan"
)

// finishedTasks are the tasks that have ended and are not to be retained, by their end. It bounds
// their size. It has no lock: Executor.mu guards it.
type finishedTasks struct {
	// limit is the size above which the oldest are deleted; 0 means that there is no limit.
	limit, bytes int64
	tasks        *btree.BTreeG[finishedTask]
	// evicted are those whose deletion was asked for because of the limit.
	evicted map[types.UID]struct{}
}

// finishedTask is one of them. The strings are shared with the cache.
type finishedTask struct {
	// end is in nanoseconds since 1970.
	end             int64
	namespace, name string
	uid             types.UID
	bytes           int64
}

func newFinishedTasks(limit int64) *finishedTasks {
	return &finishedTasks{
		limit: limit,
		tasks: btree.NewG(32, func(a, b finishedTask) bool {
			return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.uid, b.uid)) < 0
		}),
		evicted: map[types.UID]struct{}{},
	}
}

func finishedTaskOf(task *v1alpha1.Task) finishedTask {
	return finishedTask{
		end: plan.Ended(task).UnixNano(), namespace: task.Namespace, name: task.Name, uid: task.UID, bytes: storedBytes(task),
	}
}

// set counts a task, or its size anew. It returns the tasks that are to be deleted.
func (f *finishedTasks) set(task *v1alpha1.Task) (evicted []types.NamespacedName) {
	if f.limit == 0 || plan.Retained(task) {
		return nil
	}
	if _, ok := f.evicted[task.UID]; ok {
		return nil
	}
	this := finishedTaskOf(task)
	if before, ok := f.tasks.ReplaceOrInsert(this); ok {
		f.bytes -= before.bytes
	}
	f.bytes += this.bytes
	for f.bytes > f.limit {
		oldest, ok := f.tasks.DeleteMin()
		if !ok {
			break
		}
		f.bytes -= oldest.bytes
		f.evicted[oldest.uid] = struct{}{}
		evicted = append(evicted, types.NamespacedName{Namespace: oldest.namespace, Name: oldest.name})
	}
	return evicted
}

// drop counts out a task that is gone.
func (f *finishedTasks) drop(task *v1alpha1.Task) {
	delete(f.evicted, task.UID)
	if f.limit == 0 || !plan.Finished(task) {
		return
	}
	if gone, ok := f.tasks.Delete(finishedTaskOf(task)); ok {
		f.bytes -= gone.bytes
	}
}

// retainLocked keeps a task that has ended for its time, and as long as there is room.
func (e *Executor) retainLocked(task *v1alpha1.Task) {
	key := types.NamespacedName{Namespace: task.Namespace, Name: task.Name}
	if at, ends := plan.Expiry(task, e.config.Retention); ends {
		e.config.Timers.Set(timerKey{task.UID, timeExpiry}, at, func() { e.expired.Add(key) })
	}
	for _, evicted := range e.finished.set(task) {
		e.expired.Add(evicted)
	}
}

// over says whether a task that has ended is to be deleted now.
func (e *Executor) over(task *v1alpha1.Task) bool {
	if !plan.Finished(task) || plan.Retained(task) {
		return false
	}
	e.mu.Lock()
	_, evicted := e.finished.evicted[task.UID]
	e.mu.Unlock()
	at, ends := plan.Expiry(task, e.config.Retention)
	return evicted || ends && !e.config.Clock.Now().Before(at)
}
