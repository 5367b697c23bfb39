package bind

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	client "arl.io/arl/pkg/generated/clientset/versioned/typed/arl/v1alpha1"
	lister "arl.io/arl/pkg/generated/listers/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler/ledger"
	"arl.io/arl/pkg/scheduler/timer"
	"arl.io/arl/pkg/scheduler/work"
)

// sandboxWorkers is how many sandboxes are worked on at the same time. Most of
// it is waiting for a write, and writes that come together are committed together.
const sandboxWorkers = 16

// Tasks knows which sandboxes are in use.
type Tasks interface {
	// Activity returns how many tasks of a sandbox are pending or running, and
	// when the last one ended, which is zero if none has.
	Activity(sandbox types.NamespacedName) (active int, lastEnd time.Time)
}

// Pods are labelled for those who look at them.
type Pods interface {
	// LabelSandbox names the sandbox that a pod was given to on the pod. If
	// there is no such pod, it returns podruntime.ErrNotFound.
	LabelSandbox(ctx context.Context, key podruntime.Key, uid types.UID, sandbox string) error
}

// Config is what a Binder needs. All fields are needed.
type Config struct {
	Client    client.SandboxesGetter
	Sandboxes lister.SandboxLister
	Pools     lister.WarmPoolLister
	Ledger    *ledger.Ledger
	Tasks     Tasks
	Pods      Pods
	Timers    *timer.Queue
	Clock     clock.WithTicker
	// Retention is how long a sandbox that has failed is kept, so that somebody
	// can read why, unless it is to be kept alive.
	Retention time.Duration
}

// Binder looks after sandboxes. Its methods may be called concurrently.
type Binder struct {
	config    Config
	sandboxes *work.Queue[types.NamespacedName]
	rounds    *work.Queue[types.NamespacedName]
	notes     *work.Queue[types.NamespacedName]
	labels    *work.Queue[types.NamespacedName]

	mu sync.Mutex
	// described is when the queue of a pool was last described.
	described map[types.NamespacedName]time.Time
	// labelled are the sandboxes whose pods were, or are being, labelled.
	labelled map[types.NamespacedName]labelling
}

// New returns a Binder that does nothing before Run.
func New(config Config) *Binder {
	return &Binder{
		config:    config,
		sandboxes: work.NewQueue[types.NamespacedName]("sandboxes", config.Timers),
		rounds:    work.NewQueue[types.NamespacedName]("pools with a queue", config.Timers),
		notes:     work.NewQueue[types.NamespacedName]("sandboxes to be noted", config.Timers),
		labels:    work.NewQueue[types.NamespacedName]("pods to be labelled", config.Timers),
		described: map[types.NamespacedName]time.Time{},
		labelled:  map[types.NamespacedName]labelling{},
	}
}

// Enqueue asks for a look at a sandbox. It never blocks.
func (b *Binder) Enqueue(sandbox types.NamespacedName) { b.sandboxes.Add(sandbox) }

// EnqueueQueue asks for a description of the queue of a pool. It never blocks.
func (b *Binder) EnqueueQueue(pool types.NamespacedName) { b.rounds.Add(pool) }

// EnqueueAll asks for a look at every sandbox of a pool, whose defaults have
// changed. It goes through all sandboxes of the namespace.
func (b *Binder) EnqueueAll(pool types.NamespacedName) {
	all, err := b.config.Sandboxes.Sandboxes(pool.Namespace).List(labels.Everything())
	if err != nil {
		// A lister reads from memory: it has no way to fail.
		return
	}
	for _, sandbox := range all {
		if sandbox.Spec.PoolRef == pool.Name {
			b.Enqueue(keyOf(sandbox))
		}
	}
}

// Run works until ctx ends, and joins all it has started.
func (b *Binder) Run(ctx context.Context) {
	var rooms sync.WaitGroup
	rooms.Go(func() { b.sandboxes.Run(ctx, sandboxWorkers, b.reconcile) })
	rooms.Go(func() { b.rounds.Run(ctx, 1, b.describeQueue) })
	rooms.Go(func() { b.notes.Run(ctx, 1, b.note) })
	rooms.Go(func() { b.labels.Run(ctx, labelWorkers, b.label) })
	rooms.Wait()
}

// reconcile does what is next for a sandbox.
func (b *Binder) reconcile(ctx context.Context, key types.NamespacedName) error {
	sandbox, err := b.config.Sandboxes.Sandboxes(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) || err == nil && sandbox.DeletionTimestamp != nil {
		b.forget(key)
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up sandbox %s: %w", key, err)
	}
	if sandbox.Status.Phase == v1alpha1.SandboxFailed {
		return b.retain(ctx, key, sandbox)
	}
	switch standing := b.config.Ledger.Standing(sandbox.UID); standing.Stage {
	case ledger.Waiting:
		return b.await(ctx, sandbox)
	case ledger.Granted:
		return b.bind(ctx, sandbox, standing.Pod)
	case ledger.Bound:
		return b.attend(ctx, sandbox)
	case ledger.Ended:
		return b.fail(ctx, sandbox, standing.Reason, standing.Message)
	default:
		return nil
	}
}

// Kinds of timers of a sandbox.
const (
	timeAllocation = "allocation"
	timeIdle       = "idle"
	timeLifetime   = "lifetime"
	timeRetention  = "retention"
	timeNote       = "note"
	timeLabel      = "label"
)

// timerKey is the key of a sandbox's timer.
type timerKey struct {
	sandbox types.NamespacedName
	what    string
}

// lookAt asks for a look at the sandbox at the given time.
func (b *Binder) lookAt(key types.NamespacedName, what string, at time.Time) {
	b.config.Timers.Set(timerKey{key, what}, at, func() { b.Enqueue(key) })
}

// forget drops what is kept of a sandbox that is gone.
func (b *Binder) forget(key types.NamespacedName) {
	for _, what := range []string{timeAllocation, timeIdle, timeLifetime, timeRetention, timeNote, timeLabel} {
		b.config.Timers.Stop(timerKey{key, what})
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.labelled, key)
}

// pool returns the sandbox's pool, or nil if there is none.
func (b *Binder) pool(sandbox *v1alpha1.Sandbox) *v1alpha1.WarmPool {
	pool, err := b.config.Pools.WarmPools(sandbox.Namespace).Get(sandbox.Spec.PoolRef)
	if err != nil {
		return nil
	}
	return pool
}

// delete deletes the sandbox as it was looked at. If it was changed since, it
// is looked at again when the cache has the change.
func (b *Binder) delete(ctx context.Context, sandbox *v1alpha1.Sandbox, why string) error {
	klog.FromContext(ctx).V(2).Info("Deleting sandbox", "sandbox", klog.KObj(sandbox), "why", why)
	err := b.config.Client.Sandboxes(sandbox.Namespace).Delete(ctx, sandbox.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &sandbox.UID, ResourceVersion: &sandbox.ResourceVersion},
	})
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return nil
	case err != nil:
		return fmt.Errorf("delete sandbox %s/%s: %w", sandbox.Namespace, sandbox.Name, err)
	}
	return nil
}

func keyOf(sandbox *v1alpha1.Sandbox) types.NamespacedName {
	return types.NamespacedName{Namespace: sandbox.Namespace, Name: sandbox.Name}
}
