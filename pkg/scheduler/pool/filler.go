package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

const (
	// fillWorkers is how many pools are worked on at the same time.
	fillWorkers = 4
	// createsAtOnce is how many pods are asked for at the same time. It is far
	// above what one pool may have starting, so that a pool whose creates hang
	// holds up no other.
	createsAtOnce = 256
	// callTimeout bounds one request for a pod or its deletion. It is above the
	// minute after which the API server of a cluster gives up by itself.
	callTimeout = 75 * time.Second
	// statusInterval is the least time between two writes of a pool's status:
	// every claim changes the counts.
	statusInterval = 200 * time.Millisecond
)

// Reasons of the conditions beside those of package podruntime.
const (
	// ReasonInvalidTemplate: the runtime cannot make pods from the template as it stands.
	ReasonInvalidTemplate = "InvalidTemplate"
	// ReasonCreateFailed: the runtime refused to create a pod.
	ReasonCreateFailed = "CreateFailed"
)

// Config is what a Filler needs. All fields are needed.
type Config struct {
	Client  client.WarmPoolsGetter
	Pools   lister.WarmPoolLister
	Runtime podruntime.Runtime
	Ledger  *ledger.Ledger
	// Hold says whether steps run in a pod that is to be deleted. If so, released is called once
	// none does any more. It never blocks, and released may only enqueue.
	Hold   func(pod types.UID, released func()) bool
	Timers *timer.Queue
	Clock  clock.WithTicker
}

// Filler fills pools. Its methods may be called concurrently.
type Filler struct {
	config Config
	pools  *work.Queue[types.NamespacedName]
	// creates holds a token for every pod that is being asked for; starts are
	// the goroutines that ask or wait for their turn.
	creates chan struct{}
	starts  sync.WaitGroup
	// unwanted pods are to be deleted, unproven ones to be asked whether they were used.
	unwanted, unproven *work.Queue[podID]

	mu sync.Mutex
	// written is when the status of a pool was last written.
	written map[types.NamespacedName]time.Time
}

// New returns a Filler that does nothing before Run.
func New(config Config) *Filler {
	return &Filler{
		config:   config,
		pools:    work.NewQueue[types.NamespacedName]("pools", config.Timers),
		unwanted: work.NewQueue[podID]("unwanted pods", config.Timers),
		unproven: work.NewQueue[podID]("unproven pods", config.Timers),
		creates:  make(chan struct{}, createsAtOnce),
		written:  map[types.NamespacedName]time.Time{},
	}
}

// Enqueue asks for a look at a pool. It never blocks.
func (f *Filler) Enqueue(pool types.NamespacedName) { f.pools.Add(pool) }

// Run works until ctx ends, and joins all it has started.
func (f *Filler) Run(ctx context.Context) {
	var rooms sync.WaitGroup
	rooms.Go(func() { f.pools.Run(ctx, fillWorkers, f.reconcile) })
	rooms.Go(func() { f.unwanted.Run(ctx, reapWorkers, f.reap) })
	rooms.Go(func() { f.unproven.Run(ctx, proveWorkers, f.prove) })
	rooms.Wait()
	// Only the workers above begin starts.
	f.starts.Wait()
}

// timerKey is the key of a pool's timer for the next try or status.
type timerKey struct {
	pool types.NamespacedName
	what string
}

// reconcile fills one pool and describes it.
func (f *Filler) reconcile(ctx context.Context, key types.NamespacedName) error {
	order := f.config.Ledger.Fill(key)
	f.start(ctx, order.Start)
	if !order.RetryAt.IsZero() {
		f.config.Timers.Set(timerKey{key, "fill"}, order.RetryAt, func() { f.Enqueue(key) })
	}

	pool, err := f.config.Pools.WarmPools(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		f.forget(key)
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up pool %s: %w", key, err)
	}
	return f.describe(ctx, key, pool)
}

// start has pods created, and does not wait for them: one pool must not hold up
// another. They are in the ledger already, which bounds them, and what does not
// work is the ledger's to try again.
func (f *Filler) start(ctx context.Context, specs []podruntime.Spec) {
	for _, spec := range specs {
		f.starts.Go(func() {
			select {
			case f.creates <- struct{}{}:
			case <-ctx.Done():
				return
			}
			defer func() { <-f.creates }()
			f.create(ctx, spec)
		})
	}
}

func (f *Filler) create(ctx context.Context, spec podruntime.Spec) {
	logger := klog.FromContext(ctx)
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	pod, err := f.config.Runtime.Create(ctx, spec)
	if err != nil {
		reason, wait := reasonOf(err)
		logger.V(2).Info("Pod not created", "pod", spec.Key, "pool", spec.Pool, "reason", reason, "err", err)
		f.config.Ledger.StartFailed(spec.Key, reason, err.Error(), wait)
		return
	}
	logger.V(4).Info("Pod created", "pod", spec.Key, "pool", spec.Pool)
	f.config.Ledger.Observe(podruntime.Event{Pod: pod})
}

// reasonOf says in a word why a pod was not created, and how long not to try again.
func reasonOf(err error) (reason string, wait time.Duration) {
	var refusal *podruntime.Refusal
	switch {
	case errors.As(err, &refusal):
		return refusal.Reason, refusal.RetryAfter
	case errors.Is(err, podruntime.ErrInvalid):
		return ReasonInvalidTemplate, 0
	default:
		return ReasonCreateFailed, 0
	}
}

// forget drops what is kept of a pool that is gone.
func (f *Filler) forget(key types.NamespacedName) {
	f.config.Timers.Stop(timerKey{key, "fill"})
	f.config.Timers.Stop(timerKey{key, "status"})
	f.config.Timers.Stop(timerKey{key, "stall"})
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.written, key)
}

// describe writes the status of a pool if it says something else than what is
// stored, at most once an interval.
func (f *Filler) describe(ctx context.Context, key types.NamespacedName, pool *v1alpha1.WarmPool) error {
	state := f.config.Ledger.State(key)
	if state.Terminating && state.Allocated == 0 && pool.DeletionTimestamp != nil {
		return f.release(ctx, key, pool)
	}
	status := statusOf(pool, state, f.template(pool), f.config.Clock.Now())
	f.watchStall(key, status)
	if sameStatus(&pool.Status, status) {
		return nil
	}
	if at, wait := f.tooEarly(key); wait {
		f.config.Timers.Ensure(timerKey{key, "status"}, at, func() { f.Enqueue(key) })
		return nil
	}
	changed := pool.DeepCopy()
	changed.Status = *status
	_, err := f.config.Client.WarmPools(key.Namespace).UpdateStatus(ctx, changed, updateOptions)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case apierrors.IsConflict(err):
		f.lookAgain(key)
		return nil
	case err != nil:
		return fmt.Errorf("write the status of pool %s: %w", key, err)
	}
	return nil
}

// lookAgain has a pool looked at soon, after a conflict: the cache lags.
func (f *Filler) lookAgain(key types.NamespacedName) {
	f.config.Timers.Ensure(timerKey{key, "status"}, f.config.Clock.Now().Add(statusInterval), func() { f.Enqueue(key) })
}

// watchStall has a pool whose pods fail to start looked at when it counts as stalled.
func (f *Filler) watchStall(key types.NamespacedName, status *v1alpha1.WarmPoolStatus) {
	at, failing := stallTime(status)
	if !failing || !f.config.Clock.Now().Before(at) {
		f.config.Timers.Stop(timerKey{key, "stall"})
		return
	}
	f.config.Timers.Set(timerKey{key, "stall"}, at, func() { f.Enqueue(key) })
}

// release lets a deleted pool go, none of whose pods is in use any more, nor can be.
func (f *Filler) release(ctx context.Context, key types.NamespacedName, pool *v1alpha1.WarmPool) error {
	changed := pool.DeepCopy()
	changed.Finalizers = slices.DeleteFunc(changed.Finalizers, func(name string) bool { return name == v1alpha1.FinalizerSandboxesInUse })
	if len(changed.Finalizers) == len(pool.Finalizers) {
		return nil
	}
	_, err := f.config.Client.WarmPools(key.Namespace).Update(ctx, changed, updateOptions)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case apierrors.IsConflict(err):
		f.lookAgain(key)
		return nil
	case err != nil:
		return fmt.Errorf("remove the finalizer of pool %s: %w", key, err)
	}
	return nil
}

// template returns what the runtime has to say about a pool's template.
func (f *Filler) template(pool *v1alpha1.WarmPool) opinion {
	advice, err := f.config.Runtime.Check(podruntime.Spec{
		Key:      podruntime.Key{Namespace: pool.Namespace},
		Pool:     pool.Name,
		PoolUID:  pool.UID,
		Template: &pool.Spec.Template,
		WorkDir:  pool.Spec.WorkDir,
	})
	return opinion{advice, err}
}

// tooEarly says until when the next write has to wait, or notes that it is made now.
func (f *Filler) tooEarly(key types.NamespacedName) (until time.Time, wait bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.config.Clock.Now()
	if next := f.written[key].Add(statusInterval); now.Before(next) {
		return next, true
	}
	f.written[key] = now
	return time.Time{}, false
}
