package scheduler

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler/execute"
)

// subscribe has the informers tell the rooms of what is stored and changes.
// Every handler puts what it is told into an index or on a queue, and returns.
func (s *Scheduler) subscribe() error {
	group := s.config.Informers.Arl().V1alpha1()
	if err := group.Tasks().Informer().SetTransform(execute.Trim); err != nil {
		return fmt.Errorf("trim the cache of tasks: %w", err)
	}
	for _, each := range []struct {
		resource string
		informer cache.SharedIndexInformer
		handler  cache.ResourceEventHandler
	}{
		{"warmpools", group.WarmPools().Informer(), handler(s.poolChanged, s.poolGone)},
		{"sandboxes", group.Sandboxes().Informer(), handler(s.sandboxChanged, s.sandboxGone)},
		{"tasks", group.Tasks().Informer(), handler(s.tasks.SetTask, s.tasks.DropTask)},
	} {
		f, err := newFeed(each.resource, each.informer, each.handler)
		if err != nil {
			return err
		}
		s.feeds = append(s.feeds, f)
	}
	return nil
}

// handler makes an event handler of two functions. An object that was deleted
// unseen is told of as it was last seen; one that was replaced by another of its
// name was deleted unseen, too.
func handler[T metav1.Object](changed, gone func(T)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { changed(obj.(T)) },
		UpdateFunc: func(before, obj any) {
			if old := before.(T); old.GetUID() != obj.(T).GetUID() {
				gone(old)
			}
			changed(obj.(T))
		},
		DeleteFunc: func(obj any) {
			if unseen, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = unseen.Obj
			}
			if last, ok := obj.(T); ok {
				gone(last)
			}
		},
	}
}

func (s *Scheduler) poolChanged(pool *v1alpha1.WarmPool) {
	key := types.NamespacedName{Namespace: pool.Namespace, Name: pool.Name}
	s.ledger.SetPool(pool)
	if pool.Status.ObservedGeneration != pool.Generation {
		// Its defaults may be others: its sandboxes' timers follow.
		s.sandboxes.EnqueueAll(key)
	}
}

func (s *Scheduler) poolGone(pool *v1alpha1.WarmPool) {
	key := types.NamespacedName{Namespace: pool.Namespace, Name: pool.Name}
	s.ledger.DropPool(key)
	s.sandboxes.EnqueueAll(key)
}

// sandboxChanged tells the ledger first: a sandbox that becomes ready has its
// pod bound before a task runs in it.
func (s *Scheduler) sandboxChanged(sandbox *v1alpha1.Sandbox) {
	s.ledger.SetSandbox(sandbox)
	s.tasks.SetSandbox(sandbox)
	s.sandboxes.Enqueue(types.NamespacedName{Namespace: sandbox.Namespace, Name: sandbox.Name})
}

func (s *Scheduler) sandboxGone(sandbox *v1alpha1.Sandbox) {
	s.ledger.DropSandbox(sandbox)
	s.tasks.DropSandbox(sandbox)
	s.sandboxes.Enqueue(types.NamespacedName{Namespace: sandbox.Namespace, Name: sandbox.Name})
}

// listener carries what the ledger says to the rooms.
type listener struct{ s *Scheduler }

func (l listener) PoolChanged(pool types.NamespacedName)       { l.s.pools.Enqueue(pool) }
func (l listener) QueueChanged(pool types.NamespacedName)      { l.s.sandboxes.EnqueueQueue(pool) }
func (l listener) SandboxChanged(sandbox types.NamespacedName) { l.s.sandboxes.Enqueue(sandbox) }
func (l listener) PodUnwanted(pod podruntime.Key, uid types.UID) {
	l.s.pools.Delete(pod, uid)
}

func (l listener) PodUnproven(pod podruntime.Key, uid types.UID) { l.s.pools.Prove(pod, uid) }

// podHandler carries what the runtime says to the ledger, and to the probes of agents.
type podHandler struct{ s *Scheduler }

func (h podHandler) PodChanged(event podruntime.Event) {
	h.s.ledger.Observe(event)
	h.s.agents.Observe(event)
}

func (h podHandler) PodsSynced() {
	h.s.syncOnce.Do(func() { close(h.s.podsSynced) })
}
