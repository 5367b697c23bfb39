package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/client-go/rest"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apiserver"
	"arl.io/arl/pkg/apiserver/inprocess"
	"arl.io/arl/pkg/generated/clientset/versioned"
	"arl.io/arl/pkg/storage/bolt"
	"arl.io/arl/pkg/storage/kv"
)

// What the lifecycles go through.
const (
	pathAPI     = "api"
	pathStorage = "storage"
)

// target is the database that is written to, with all that a server runs for it.
type target struct {
	dir   string
	db    *kv.DB
	tasks tasks
	// stop ends the loops of the database and joins them.
	stop func() error

	mu sync.Mutex
	// commits are the durations of those since the last record.
	commits []time.Duration
}

func open(ctx context.Context, dir string, s settings) (*target, error) {
	t := &target{dir: dir}
	var err error
	t.db, err = kv.Open(dir, kv.Options{OnCommit: t.commit, Now: time.Now})
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	expirer := bolt.NewExpirer(t.db, nil)
	if t.tasks, err = newTasks(bolt.Backend{DB: t.db, Expirer: expirer}, s); err != nil {
		return nil, errors.Join(err, t.db.Close())
	}
	loopCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	loops := []func(context.Context) error{bolt.NewCompactor(bolt.CompactorConfig{DB: t.db}).Run, expirer.Run}
	errs := make([]error, len(loops))
	var wg sync.WaitGroup
	for i, loop := range loops {
		wg.Go(func() { errs[i] = loop(loopCtx) })
	}
	t.stop = func() error {
		cancel()
		wg.Wait()
		return errors.Join(errs...)
	}
	return t, nil
}

func (t *target) close() error { return errors.Join(t.stop(), t.db.Close()) }

func (t *target) commit(s kv.CommitStats) {
	if s.Writes == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.commits = append(t.commits, s.Duration)
}

func (t *target) takeCommits() []time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	taken := t.commits
	t.commits = nil
	return taken
}

// size returns that of a file of the database.
func (t *target) size(name string) (int64, error) {
	info, err := os.Stat(filepath.Join(t.dir, name))
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", name, err)
	}
	return info.Size(), nil
}

func newTasks(backend bolt.Backend, s settings) (tasks, error) {
	codec, err := apiserver.StorageCodec(v1alpha1.SchemeGroupVersion)
	if err != nil {
		return nil, err
	}
	getter, err := bolt.NewRESTOptionsGetter(bolt.RESTOptionsConfig{
		Backend: backend, Codec: codec, StorageVersion: v1alpha1.SchemeGroupVersion,
	})
	if err != nil {
		return nil, fmt.Errorf("set up storage: %w", err)
	}
	switch s.path {
	case pathStorage:
		resource := schema.GroupResource{Group: v1alpha1.GroupName, Resource: "tasks"}
		options, err := getter.GetRESTOptions(resource, &arl.Task{})
		if err != nil {
			return nil, fmt.Errorf("set up storage: %w", err)
		}
		prefix := "/" + options.ResourcePrefix
		store, _, err := options.Decorator(options.StorageConfig, prefix, nil,
			func() runtime.Object { return &arl.Task{} }, func() runtime.Object { return &arl.TaskList{} }, nil, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("set up storage: %w", err)
		}
		return storageTasks{store: store, prefix: prefix, content: s.content}, nil
	case pathAPI:
		return newAPITasks(getter, s.content)
	}
	return nil, fmt.Errorf("--path %s: want %s or %s", s.path, pathAPI, pathStorage)
}

// newAPITasks returns the client of an API server in this process. Nobody
// listens, and everybody may do everything.
func newAPITasks(getter *bolt.RESTOptionsGetter, content int) (tasks, error) {
	config := apiserver.NewConfig("v0.0.0-bench")
	generic := config.GenericConfig
	generic.RESTOptionsGetter = getter
	generic.ExternalAddress = "127.0.0.1:443"
	generic.LoopbackClientConfig = &rest.Config{Host: "https://127.0.0.1"}
	generic.Authentication.Authenticator = authenticator.RequestFunc(
		func(*http.Request) (*authenticator.Response, bool, error) {
			return &authenticator.Response{User: &user.DefaultInfo{Name: "bench"}}, true, nil
		})
	generic.Authorization.Authorizer = authorizerfactory.NewAlwaysAllowAuthorizer()
	server, err := config.Complete().New()
	if err != nil {
		return nil, fmt.Errorf("set up the API server: %w", err)
	}
	server.PrepareRun()
	transport := inprocess.New()
	transport.Serve(server.Handler)
	client, err := versioned.NewForConfig(&rest.Config{
		Host: "https://127.0.0.1", Transport: transport, QPS: -1,
		ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeProtobuf, AcceptContentTypes: runtime.ContentTypeProtobuf},
	})
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	return apiTasks{client: client.ArlV1alpha1(), content: content}, nil
}
