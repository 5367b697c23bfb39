package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/agent/execution"
	"arl.io/arl/pkg/agent/file"
	"arl.io/arl/pkg/agent/process"
	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apiserver"
	"arl.io/arl/pkg/apiserver/inprocess"
	"arl.io/arl/pkg/generated/clientset/versioned"
	"arl.io/arl/pkg/generated/informers/externalversions"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler"
	"arl.io/arl/pkg/scheduler/schedulertest"
	"arl.io/arl/pkg/storage/bolt"
	"arl.io/arl/pkg/storage/kv"
)

// server is a server in this process: the API, its storage and its scheduler
// are the real ones, and it listens on loopback. Its pods are directories in
// which the real agent's rooms run steps as processes of this machine.
type server struct {
	address   string
	authority []byte
	pods      *pods
	scheduler *scheduler.Scheduler
	// close ends and removes all of it.
	close func() error
}

// cleanups are called in the reverse order.
type cleanups []func() error

func (c *cleanups) add(f func() error) { *c = append(*c, f) }

func (c *cleanups) run() error {
	var errs []error
	for i := len(*c) - 1; i >= 0; i-- {
		errs = append(errs, (*c)[i]())
	}
	return errors.Join(errs...)
}

func startServer() (_ *server, err error) {
	ending := &cleanups{}
	defer func() {
		if err != nil {
			err = errors.Join(err, ending.run())
		}
	}()
	dir, err := os.MkdirTemp("", "arl-sdk-")
	if err != nil {
		return nil, err
	}
	ending.add(func() error { return os.RemoveAll(dir) })
	s := &server{close: ending.run}
	db, err := kv.Open(filepath.Join(dir, "storage"), kv.Options{})
	if err != nil {
		return nil, err
	}
	ending.add(db.Close)
	if s.pods, err = newPods(filepath.Join(dir, "pods")); err != nil {
		return nil, err
	}
	ending.add(s.pods.close)
	return s, s.serve(db, ending)
}

// serve puts the parts together as the server's command does.
func (s *server) serve(db *kv.DB, ending *cleanups) error {
	codec, err := apiserver.StorageCodec(v1alpha1.SchemeGroupVersion)
	if err != nil {
		return err
	}
	expirer := bolt.NewExpirer(db, clock.RealClock{})
	storage, err := bolt.NewRESTOptionsGetter(bolt.RESTOptionsConfig{
		Backend:        bolt.Backend{DB: db, Expirer: expirer, Clock: clock.RealClock{}},
		Codec:          codec,
		StorageVersion: v1alpha1.SchemeGroupVersion,
	})
	if err != nil {
		return err
	}
	self := inprocess.New()
	client, err := versioned.NewForConfig(&rest.Config{Host: "http://self", Transport: self, QPS: -1})
	if err != nil {
		return err
	}
	s.scheduler, err = scheduler.New(scheduler.Config{
		Client: client, Informers: externalversions.NewSharedInformerFactory(client, 0), Runtime: s.pods,
	})
	if err != nil {
		return err
	}
	config := apiserver.NewConfig("v0.0.0-test")
	if config.GenericConfig.SecureServing, err = s.listen(); err != nil {
		return err
	}
	config.GenericConfig.ExternalAddress = s.address
	config.GenericConfig.LoopbackClientConfig = &rest.Config{}
	config.GenericConfig.Authorization.Authorizer = authorizerfactory.NewAlwaysAllowAuthorizer()
	config.GenericConfig.RESTOptionsGetter = storage
	config.Extra.Allocator = s.scheduler
	api, err := config.Complete().New()
	if err != nil {
		return err
	}
	api.ShutdownTimeout = time.Second
	prepared := api.PrepareRun()
	self.Serve(prepared.Handler)

	ctx, stop := context.WithCancel(context.Background())
	var group errgroup.Group
	group.Go(func() error { return expirer.Run(ctx) })
	group.Go(func() error { return s.scheduler.Run(ctx) })
	group.Go(func() error { return prepared.RunWithContext(ctx) })
	ending.add(func() error {
		stop()
		return group.Wait()
	})
	return nil
}

// listen picks a port, and makes a certificate.
func (s *server) listen() (*genericapiserver.SecureServingInfo, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.address = listener.Addr().String()
	certificate, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	s.authority = certificate
	content, err := dynamiccertificates.NewStaticCertKeyContent("serving", certificate, key)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return &genericapiserver.SecureServingInfo{Listener: listener, Cert: content}, nil
}

// kubeconfig writes a kubeconfig for the server.
func (s *server) kubeconfig(path string) error {
	config := clientcmdapi.NewConfig()
	config.Clusters["here"] = &clientcmdapi.Cluster{Server: "https://" + s.address, CertificateAuthorityData: s.authority}
	config.Contexts["here"] = &clientcmdapi.Context{Cluster: "here"}
	config.CurrentContext = "here"
	return clientcmd.WriteToFile(*config, path)
}

// pods are the runtime of the tests of the scheduler, with agents that do
// what they are told.
type pods struct {
	*schedulertest.Runtime
	dir        string
	files      *file.Root
	executions *execution.Registry
	stop       func()

	// mu guards the runtime's Behave, which each pod begins with, too.
	mu sync.Mutex
	// refused says why the pods of a pool cannot be created.
	refused map[string]error
}

var _ podruntime.Runtime = (*pods)(nil)

func newPods(dir string) (*pods, error) {
	files, err := file.OpenRoot("/")
	if err != nil {
		return nil, err
	}
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	supervisor, err := process.New(process.Config{Logger: logger})
	if err != nil {
		return nil, errors.Join(err, files.Close())
	}
	p := &pods{
		Runtime: schedulertest.NewRuntime(clock.RealClock{}),
		refused: map[string]error{},
		dir:     dir,
		files:   files,
		executions: execution.NewRegistry(execution.Config{
			Supervisor: supervisor, Files: files, Logger: logger, Env: os.Environ(),
		}),
	}
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { supervisor.Reap(ctx) })
	p.stop = func() {
		stop()
		group.Wait()
	}
	return p, nil
}

func (p *pods) close() error {
	p.Runtime.Close()
	p.executions.Close()
	p.stop()
	return p.files.Close()
}

// refuse has the pods of a pool fail to be created from now on.
func (p *pods) refuse(pool string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused[pool] = err
}

// Create makes a pod with a directory of its own.
func (p *pods) Create(ctx context.Context, spec podruntime.Spec) (podruntime.Pod, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.refused[spec.Pool]; err != nil {
		return podruntime.Pod{}, err
	}
	dir := filepath.Join(p.dir, spec.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return podruntime.Pod{}, err
	}
	p.Behave = p.executeIn(dir)
	return p.Runtime.Create(ctx, spec)
}

// executeIn is an agent that runs steps in a directory.
func (p *pods) executeIn(dir string) schedulertest.Behaviour {
	return func(ctx context.Context, request wire.Execution) wire.ExecutionResult {
		request.WorkDir = dir
		begun, err := p.executions.Post(request)
		if err != nil {
			return wire.ExecutionResult{State: wire.Failed, Reason: wire.ReasonInvalidStep, Message: err.Error()}
		}
		stop := context.AfterFunc(ctx, func() {
			var cancelled schedulertest.Cancelled
			errors.As(context.Cause(ctx), &cancelled)
			begun.Cancel(cancelled.CancelRequest)
		})
		defer stop()
		reader := begun.Read(1, false)
		defer reader.Close()
		for {
			events, err := reader.Next(context.Background(), time.Hour)
			if err != nil {
				return wire.ExecutionResult{State: wire.Failed, Message: fmt.Sprintf("read events: %v", err)}
			}
			for _, event := range events {
				if event.Type == wire.EventFinished {
					return *event.Done
				}
			}
		}
	}
}
