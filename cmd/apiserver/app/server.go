package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"arl.io/arl/cmd/apiserver/app/options"
	"arl.io/arl/cmd/apiserver/app/storageapi"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apiserver"
	"arl.io/arl/pkg/apiserver/inprocess"
	"arl.io/arl/pkg/generated/clientset/versioned"
	"arl.io/arl/pkg/generated/informers/externalversions"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler"
	"arl.io/arl/pkg/storage/bolt"
	"arl.io/arl/pkg/storage/kv"
	storagemetrics "arl.io/arl/pkg/storage/metrics"
)

// Folders of the data directory, beside that of the standalone mode's containers.
const (
	storageDir = "storage"
	pkiDir     = "pki"
)

// Run serves until ctx ends and everything has stopped, or something failed
// that cannot be gone on without.
//
// The database is opened first, because its lock is what keeps two servers off
// one directory. Stopping goes the other way round: first the scheduler, while
// its writes are still answered; then requests; then what keeps the database in
// order; the database last. Pods go on.
func Run(ctx context.Context, o *options.Options, version string) (err error) {
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	settle := easeStart()
	db, err := openStorage(ctx, o)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := db.Close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("close the database: %w", closeErr))
		}
	}()
	s, err := newServer(ctx, o, version, db)
	if err != nil {
		return err
	}
	s.settle = settle
	return s.run(ctx)
}

// server is everything that runs.
type server struct {
	db         *kv.DB
	compactor  *bolt.Compactor
	expirer    *bolt.Expirer
	encryption *encryption
	scheduler  *scheduler.Scheduler
	api        *genericapiserver.GenericAPIServer
	// settle ends what makes the start quick.
	settle func()
	mode   mode
}

func newServer(ctx context.Context, o *options.Options, version string, opened *database) (_ *server, err error) {
	db, clk := opened.DB, clock.RealClock{}
	s := &server{
		db:      db,
		expirer: bolt.NewExpirer(db, clk),
		compactor: bolt.NewCompactor(bolt.CompactorConfig{
			DB: db, Clock: clk, Retention: o.Storage.Retention, MaxLogBytes: o.Storage.RetentionBytes.Value(),
			OnCompact: opened.metrics.Compaction,
		}),
	}
	config := apiserver.NewConfig(version)
	if s.mode, err = newMode(o, clk); err != nil {
		return nil, err
	}
	applyLimits(&config.GenericConfig.Config, o)
	if err := s.mode.Apply(ctx, config.GenericConfig); err != nil {
		return nil, err
	}
	if err := o.Audit.ApplyTo(&config.GenericConfig.Config); err != nil {
		return nil, fmt.Errorf("set up audit: %w", err)
	}
	if s.encryption, err = newEncryption(ctx, o.Encryption, config.GenericConfig.APIServerID); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.encryption.close()
		}
	}()
	s.encryption.applyTo(&config.GenericConfig.Config)
	codec, err := apiserver.StorageCodec(v1alpha1.SchemeGroupVersion)
	if err != nil {
		return nil, err
	}
	stores := &bolt.Stores{}
	opened.metrics.Observe(storagemetrics.Source{DB: db, Stores: stores})
	storageConfig := bolt.RESTOptionsConfig{
		Backend:            bolt.Backend{DB: db, Expirer: s.expirer, Clock: clk, Stores: stores},
		Codec:              codec,
		StorageVersion:     v1alpha1.SchemeGroupVersion,
		TransformerFor:     s.encryption.transformerFor,
		ObjectCountTracker: config.GenericConfig.StorageObjectCountTracker,
		GarbageCollector:   s.mode.GarbageCollected(),
	}
	storage, err := bolt.NewRESTOptionsGetter(storageConfig)
	if err != nil {
		return nil, fmt.Errorf("set up storage: %w", err)
	}
	config.GenericConfig.RESTOptionsGetter = storage
	self := inprocess.New()
	pods, err := s.mode.NewRuntime(ctx, notes{db})
	if err != nil {
		return nil, err
	}
	if removes, ok := pods.(leftovers); ok {
		if err := (serverRegistry{}).CustomRegister(newPodCollector(removes)); err != nil {
			return nil, fmt.Errorf("set up metrics of pods: %w", err)
		}
	}
	selfClient := selfConfig(config.GenericConfig.LoopbackClientConfig, self)
	if s.scheduler, err = newScheduler(o, pods, selfClient, clk); err != nil {
		return nil, err
	}
	if err := s.mode.Extend(config, partsOf(storageConfig, selfClient)); err != nil {
		return nil, err
	}
	config.Extra.Allocator, config.Extra.Keeper = s.scheduler, s.scheduler
	config.Extra.HealthChecks = []healthz.HealthChecker{healthz.NamedCheck("storage", s.checkStorage)}
	config.Extra.ReadyChecks = []healthz.HealthChecker{s.scheduler}
	config.GenericConfig.LongRunningFunc = storageapi.LongRunning(config.GenericConfig.LongRunningFunc)
	if s.api, err = config.Complete().New(); err != nil {
		return nil, err
	}
	s.encryption.report(ctx)
	s.api.ShutdownTimeout = o.ShutdownTimeout
	s.mode.Prepare(ctx)
	storageapi.Install(s.api.Handler.NonGoRestfulMux, db)
	self.Serve(s.api.Handler)
	return s, nil
}

// applyLimits bounds what is answered at the same time, and how long a stopping
// server waits. Fairness among users reckons with it, so it comes first.
func applyLimits(config *genericapiserver.Config, o *options.Options) {
	config.MaxRequestsInFlight = o.MaxRequestsInFlight
	config.MaxMutatingRequestsInFlight = o.MaxMutatingRequestsInFlight
	config.ShutdownWatchTerminationGracePeriod = o.ShutdownTimeout
}

// selfConfig is that of a client which is the server itself: the loopback
// client's rights without the network, and without a limit on the client's
// side, because what the scheduler writes is what users wait for.
func selfConfig(loopback *rest.Config, transport http.RoundTripper) *rest.Config {
	return &rest.Config{
		Host: loopback.Host, BearerToken: loopback.BearerToken, Transport: transport,
		QPS: -1, UserAgent: "arl-scheduler",
		ContentConfig: rest.ContentConfig{
			ContentType:        runtime.ContentTypeProtobuf,
			AcceptContentTypes: runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON,
		},
	}
}

func newScheduler(o *options.Options, pods podruntime.Runtime, self *rest.Config, clk clock.WithTicker) (*scheduler.Scheduler, error) {
	client, err := versioned.NewForConfig(self)
	if err != nil {
		return nil, fmt.Errorf("make the scheduler's client: %w", err)
	}
	informers := externalversions.NewSharedInformerFactoryWithOptions(client, 0, externalversions.WithTransform(dropManagedFields))
	s, err := scheduler.New(scheduler.Config{
		Client:              client,
		Informers:           informers,
		Runtime:             pods,
		Clock:               clk,
		TaskRetention:       o.Scheduler.TaskRetention,
		TaskRetentionBytes:  o.Scheduler.TaskRetentionBytes.Value(),
		MaxExecutions:       o.Scheduler.MaxExecutions,
		PodStartParallelism: o.Runtime.Parallelism,
	})
	if err != nil {
		return nil, fmt.Errorf("set up the scheduler: %w", err)
	}
	return s, nil
}

// dropManagedFields is for objects that the scheduler keeps: it does not look at
// managed fields, which are a third of a small object, and an update without
// them leaves those that are stored as they are.
func dropManagedFields(obj any) (any, error) {
	if m, err := meta.Accessor(obj); err == nil {
		m.SetManagedFields(nil)
	}
	return obj, nil
}

// checkStorage fails once the database has: nothing more can be written, and
// only a new start shows what was.
func (s *server) checkStorage(*http.Request) error { return s.db.Err() }

// run serves until ctx ends or a part fails.
func (s *server) run(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	// What serves requests outlives the requests: it is stopped after them.
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	defer s.encryption.close()
	scheduling, stopScheduling := context.WithCancel(background)
	defer stopScheduling()
	scheduled := make(chan struct{})
	err := s.api.AddPreShutdownHook("stop-scheduler", func() error {
		stopScheduling()
		<-scheduled
		return nil
	})
	if err != nil {
		return fmt.Errorf("have the scheduler stopped first: %w", err)
	}

	group.Go(func() error {
		s.encryption.run(background)
		return nil
	})
	group.Go(func() error {
		settleWhenReady(background, clock.RealClock{}, s.scheduler.Ready, s.settle)
		return nil
	})
	group.Go(func() error {
		s.mode.Run(background)
		return nil
	})
	group.Go(func() error { return s.compactor.Run(background) })
	group.Go(func() error { return s.expirer.Run(background) })
	group.Go(func() error {
		select {
		case <-s.db.Failed():
			return fmt.Errorf("the database has failed and is given up, nothing acknowledged is lost: %w", s.db.Err())
		case <-background.Done():
			return nil
		}
	})
	group.Go(func() error {
		defer close(scheduled)
		return s.scheduler.Run(scheduling)
	})
	group.Go(func() error {
		defer stopBackground()
		return s.api.PrepareRun().RunWithContext(groupCtx)
	})
	klog.FromContext(ctx).Info("Serving", s.mode.Whereabouts()...)
	return group.Wait()
}
