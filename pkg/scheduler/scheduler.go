package scheduler

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/generated/clientset/versioned"
	informers "arl.io/arl/pkg/generated/informers/externalversions"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler/bind"
	"arl.io/arl/pkg/scheduler/execute"
	"arl.io/arl/pkg/scheduler/health"
	"arl.io/arl/pkg/scheduler/ledger"
	"arl.io/arl/pkg/scheduler/pool"
	"arl.io/arl/pkg/scheduler/timer"
)

// Defaults of a Config.
const (
	// DefaultRetention is how long what has ended is kept.
	DefaultRetention = time.Hour
	// DefaultMaxExecutions bounds the connections to agents and the memory for
	// outcomes, and is far above what one machine runs at a time.
	DefaultMaxExecutions = 1024
	// DefaultPodStartParallelism keeps pods that start from taking the machine for themselves.
	DefaultPodStartParallelism = 16
	// DefaultOutputLimit keeps a task well below the size of an object that the
	// server takes.
	DefaultOutputLimit = 32 << 10
	// DefaultSandboxGrace is longer than it takes to apply a manifest, and
	// shorter than somebody who has misspelt a name cares to wait.
	DefaultSandboxGrace = 5 * time.Second
)

// Config is what a Scheduler needs. What has a default may be left zero.
type Config struct {
	// Client writes to the API. It should not be rate limited.
	Client versioned.Interface
	// Informers are made from the same client, for this scheduler alone, and
	// not started: Run starts them and shuts them down.
	Informers informers.SharedInformerFactory
	// Runtime makes the pods. Run runs it.
	Runtime podruntime.Runtime
	// Clock is the real one by default.
	Clock clock.WithTicker
	// TaskRetention is how long a finished task without a TTL is kept, and a
	// sandbox that has failed and is not to be kept alive.
	TaskRetention time.Duration
	// TaskRetentionBytes bounds the size of all finished tasks that are not to be retained: the
	// oldest are deleted before their time. 0: no bound.
	TaskRetentionBytes int64
	// MaxExecutions bounds the tasks that run at the same time in all sandboxes together.
	MaxExecutions int
	// PodStartParallelism bounds the pods of all pools together that start at the same time.
	PodStartParallelism int
	// OutputLimit bounds what of each of stdout and stderr a task's status holds, in bytes.
	OutputLimit int
	// SandboxGrace is how long a task waits for a sandbox that does not exist
	// before it ends as failed, so that a sandbox and its tasks may be created in any order.
	SandboxGrace time.Duration
	// PodName returns a new name for a pod of the named pool. By default it is
	// the pool's with ten random characters.
	PodName func(pool string) string
}

func (c *Config) complete() error {
	if c.Client == nil || c.Informers == nil || c.Runtime == nil {
		return errors.New("a scheduler needs a client, informers and a runtime")
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.TaskRetention == 0 {
		c.TaskRetention = DefaultRetention
	}
	if c.MaxExecutions == 0 {
		c.MaxExecutions = DefaultMaxExecutions
	}
	if c.PodStartParallelism == 0 {
		c.PodStartParallelism = DefaultPodStartParallelism
	}
	if c.OutputLimit == 0 {
		c.OutputLimit = DefaultOutputLimit
	}
	if c.SandboxGrace == 0 {
		c.SandboxGrace = DefaultSandboxGrace
	}
	if c.PodName == nil {
		c.PodName = podName
	}
	return nil
}

// Scheduler is safe for concurrent use. It is run once.
type Scheduler struct {
	config    Config
	ledger    *ledger.Ledger
	timers    *timer.Queue
	pools     *pool.Filler
	sandboxes *bind.Binder
	tasks     *execute.Executor
	agents    *health.Prober

	// feeds tell of the objects of each kind.
	feeds []*feed
	// podsSynced is closed when the runtime has told of its pods.
	podsSynced chan struct{}
	syncOnce   sync.Once
	// ready is set while decisions are made.
	ready atomic.Bool
}

// New returns a Scheduler that does nothing before Run. It returns an error if
// something it needs is missing or the informers have been started.
func New(config Config) (*Scheduler, error) {
	if err := config.complete(); err != nil {
		return nil, err
	}
	s := &Scheduler{config: config, timers: timer.New(config.Clock), podsSynced: make(chan struct{})}
	s.ledger = ledger.New(ledger.Config{
		Clock:      config.Clock,
		Listener:   listener{s},
		StartLimit: config.PodStartParallelism,
		PodName:    config.PodName,
	})
	group := config.Informers.Arl().V1alpha1()
	api := config.Client.ArlV1alpha1()
	s.pools = pool.New(pool.Config{
		Client:  api,
		Pools:   group.WarmPools().Lister(),
		Runtime: config.Runtime,
		Ledger:  s.ledger,
		Hold:    func(pod types.UID, released func()) bool { return s.tasks.Hold(pod, released) },
		Timers:  s.timers,
		Clock:   config.Clock,
	})
	s.tasks = execute.New(execute.Config{
		Client:          api,
		Tasks:           group.Tasks().Lister(),
		Sandboxes:       group.Sandboxes().Lister(),
		Pools:           group.WarmPools().Lister(),
		Runtime:         config.Runtime,
		Timers:          s.timers,
		Clock:           config.Clock,
		ActivityChanged: listener{s}.SandboxChanged,
		Abandon:         s.ledger.Abandon,
		Retention:       config.TaskRetention,
		RetentionBytes:  config.TaskRetentionBytes,
		MaxExecutions:   config.MaxExecutions,
		OutputLimit:     config.OutputLimit,
		SandboxGrace:    config.SandboxGrace,
	})
	s.sandboxes = bind.New(bind.Config{
		Client:    api,
		Sandboxes: group.Sandboxes().Lister(),
		Pools:     group.WarmPools().Lister(),
		Ledger:    s.ledger,
		Tasks:     s.tasks,
		Pods:      config.Runtime,
		Timers:    s.timers,
		Clock:     config.Clock,
		Retention: config.TaskRetention,
	})
	s.agents = health.New(health.Config{
		Runtime: config.Runtime, Timers: s.timers, Clock: config.Clock, Lost: s.ledger.LoseAgent,
	})
	if err := s.subscribe(); err != nil {
		return nil, err
	}
	return s, nil
}

// Run works until ctx ends and joins all it has started, the informers and the
// runtime included. Pods and the executions in them go on. It returns an error
// if the runtime does not run.
func (s *Scheduler) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	s.config.Informers.Start(ctx.Done())
	defer s.config.Informers.Shutdown()
	defer stop()

	group.Go(func() error {
		if err := s.config.Runtime.Run(ctx, podHandler{s}); err != nil {
			return fmt.Errorf("run the pod runtime %q: %w", s.config.Runtime.Name(), err)
		}
		if ctx.Err() == nil {
			return fmt.Errorf("the pod runtime %q ended by itself", s.config.Runtime.Name())
		}
		return nil
	})
	group.Go(func() error {
		s.timers.Run(ctx)
		return nil
	})
	group.Go(func() error {
		s.work(ctx)
		return nil
	})
	return group.Wait()
}

// work waits for what there is to be told, takes it up, and goes on from there.
func (s *Scheduler) work(ctx context.Context) {
	logger := klog.FromContext(ctx)
	for _, f := range s.feeds {
		if !cache.WaitForCacheSync(ctx.Done(), f.synced) {
			return
		}
	}
	select {
	case <-ctx.Done():
		return
	case <-s.podsSynced:
	}
	s.ledger.Open()
	s.tasks.Start()
	s.ready.Store(true)
	defer s.ready.Store(false)
	defer s.ledger.Close()
	logger.Info("Scheduler ready", "runtime", s.config.Runtime.Name())

	var rooms sync.WaitGroup
	rooms.Go(func() { s.pools.Run(ctx) })
	rooms.Go(func() { s.sandboxes.Run(ctx) })
	rooms.Go(func() { s.tasks.Run(ctx) })
	rooms.Go(func() { s.agents.Run(ctx) })
	rooms.Wait()
}

// Ready says whether pods are given out and tasks run: everything stored and
// every pod is known, and Run has not ended.
func (s *Scheduler) Ready() bool { return s.ready.Load() }

// Name is that of the health check.
func (s *Scheduler) Name() string { return "scheduler" }

// Check is a health check for readiness: it returns an error unless Ready. If
// stored objects cannot be read, it says which and why.
func (s *Scheduler) Check(*http.Request) error {
	if s.Ready() {
		return nil
	}
	if err := s.checkFeeds(); err != nil {
		return err
	}
	return errors.New("the scheduler has not caught up with what is stored, or has ended")
}

// Reserve takes a free, ready pod for a sandbox that is being created, and returns the status to store
// with it. The status is nil if no pod is free or other sandboxes come first; then done must not be
// used. Otherwise done must be called exactly once: with true if the sandbox was stored, or with false
// if it was not, which gives the pod back. The sandbox is neither changed nor kept. Reserve never
// blocks; before Run is ready and after it ends it gives no pod.
func (s *Scheduler) Reserve(_ context.Context, sandbox *v1alpha1.Sandbox) (status *v1alpha1.SandboxStatus, done func(stored bool)) {
	given, pool, ok := s.ledger.Reserve(sandbox)
	if !ok {
		return nil, nil
	}
	uid := sandbox.UID
	done = func(stored bool) { s.ledger.Settle(uid, stored) }
	return bind.Allocated(sandbox, pool, given, s.config.Clock.Now()), done
}

// Retire has a pool that is about to be deleted give out no more pods, and returns its UID. If one of
// its pods is in use, or that is not known, it does nothing and returns false. Restore must be called
// if the pool was not deleted.
func (s *Scheduler) Retire(pool types.NamespacedName) (uid types.UID, restore func(), ok bool) {
	uid, ok = s.ledger.Retire(pool)
	return uid, func() { s.ledger.Restore(pool, uid) }, ok
}

const (
	// nameSuffix random characters of 27 make a clash within a pool unlikely;
	// the runtime refuses it all the same.
	nameSuffix = 10
	// maxPoolPrefix leaves room for the suffix in the 63 characters of a host name.
	maxPoolPrefix = 52
)

func podName(pool string) string {
	return pool[:min(len(pool), maxPoolPrefix)] + "-" + utilrand.String(nameSuffix)
}
