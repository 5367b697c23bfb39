package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/kube/phase"
)

// Runtime makes pods in a cluster.
type Runtime struct {
	config Config
	// asks holds a token for every question to an agent under way.
	asks chan struct{}
	// decodes bounds what agents' large answers take of the memory.
	decodes *client.Decodes
	// wake tells Run's loop that there is something to tell or to begin.
	wake chan struct{}
	// routed and tunnelled say that agents were reached so.
	routed, tunnelled atomic.Bool

	mu    sync.Mutex
	state runState
	pods  map[podruntime.Key]*pod
	// events are not yet told, jobs not yet begun.
	events []podruntime.Event
	jobs   []func(context.Context)
	// held counts the pods of which nothing is told yet; settled is closed when
	// that has come to 0 and the pods there were at the start are known.
	held     int
	listed   bool
	settled  chan struct{}
	complete bool
	// records are of the pods that this server created, by UID. While trusting, pods without one are
	// believed to be such, too: an earlier version of the server, which kept none, has created them.
	records  map[types.UID]Record
	trusting bool
	// foreign are pods to be deleted that claim to belong to a pool and were not created here.
	foreign map[types.UID]podruntime.Pod
	// workDirs are the templates whose user is known to need no volume for the work directory.
	workDirs map[templateKey]struct{}
}

type runState int

const (
	notYet runState = iota
	active
	stopped
)

var _ podruntime.Runtime = (*Runtime)(nil)

// New returns a runtime that does nothing before Run.
func New(config Config) (*Runtime, error) {
	if err := config.complete(); err != nil {
		return nil, fmt.Errorf("kube runtime: %w", err)
	}
	return &Runtime{
		config:  config,
		asks:    make(chan struct{}, config.Parallelism),
		decodes: client.NewDecodes(client.DefaultDecodeBytes),
		wake:    make(chan struct{}, 1),
		pods:    map[podruntime.Key]*pod{},
		settled: make(chan struct{}),
		records: map[types.UID]Record{},
		foreign: map[types.UID]podruntime.Pod{},

		workDirs: map[templateKey]struct{}{},
	}, nil
}

// Name returns "kube".
func (r *Runtime) Name() string { return "kube" }

// Run implements podruntime.Runtime.
func (r *Runtime) Run(ctx context.Context, handler podruntime.Handler) error {
	if err := r.begin(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(klog.NewContext(ctx, klog.FromContext(ctx).WithName("kube")))
	var group sync.WaitGroup
	defer r.end()
	defer group.Wait()
	defer cancel()
	if err := r.loadRecords(ctx); err != nil {
		return fmt.Errorf("kube runtime: %w", err)
	}
	registrations, err := r.watch(ctx, &group)
	if err != nil {
		return fmt.Errorf("kube runtime: %w", err)
	}
	group.Go(func() { r.adopt(ctx, registrations) })
	group.Go(func() { r.sweep(ctx) })
	synced := false
	for {
		events, jobs, complete := r.take()
		for _, event := range events {
			handler.PodChanged(event)
		}
		if complete && !synced {
			handler.PodsSynced()
			synced = true
		}
		for _, job := range jobs {
			group.Go(func() { job(ctx) })
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// watch starts the informers of all namespaces.
func (r *Runtime) watch(ctx context.Context, group *sync.WaitGroup) ([]cache.DoneChecker, error) {
	var registrations []cache.DoneChecker
	for _, namespace := range r.config.Namespaces {
		informer := coreinformers.NewFilteredPodInformer(r.config.Client, namespace, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
			o.LabelSelector = podruntime.LabelPoolUID
		})
		if err := informer.SetTransform(phase.Trim); err != nil {
			return nil, fmt.Errorf("trim the cache of pods: %w", err)
		}
		registration, err := informer.AddEventHandler(handlerOf(r))
		if err != nil {
			return nil, fmt.Errorf("subscribe to changes of pods: %w", err)
		}
		registrations = append(registrations, registration.HasSyncedChecker())
		group.Go(func() { informer.RunWithContext(ctx) })
	}
	return registrations, nil
}

func (r *Runtime) begin() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != notYet {
		return errors.New("kube runtime: Run was called before")
	}
	r.state = active
	return nil
}

// end runs after all goroutines have ended.
func (r *Runtime) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = stopped
	for _, p := range r.pods {
		p.disconnectLocked()
	}
}

// take returns what is to be told and begun, and whether with these events all
// pods there were at the start have been told of.
func (r *Runtime) take() ([]podruntime.Event, []func(context.Context), bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	events, jobs := r.events, r.jobs
	r.events, r.jobs = nil, nil
	return events, jobs, r.complete
}

// tellLocked queues an event.
func (r *Runtime) tellLocked(event podruntime.Event) {
	r.events = append(r.events, event)
	r.signalLocked()
}

// startLocked queues a job for a goroutine of Run's.
func (r *Runtime) startLocked(job func(context.Context)) {
	r.jobs = append(r.jobs, job)
	r.signalLocked()
}

// signalLocked makes Run's loop look again.
func (r *Runtime) signalLocked() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Agent implements podruntime.Runtime.
func (r *Runtime) Agent(key podruntime.Key, uid types.UID) (*client.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.pods[key]
	if !ok || (uid != "" && p.pod.UID != uid) || p.pod.Phase != podruntime.Ready || p.deleting {
		return nil, fmt.Errorf("%w: %s is not ready here", podruntime.ErrNotFound, key)
	}
	return p.client, nil
}
