package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/tools/cache"

	"arl.io/arl/pkg/storage/bolt"
	"arl.io/arl/pkg/storage/kv"
)

// Names of the backends.
const (
	nameOurs = "ours"
	nameEtcd = "etcd3"
	// nameCached is the same with kube-apiserver's watch cache in front.
	nameCached = "etcd3 + watch cache"
)

// resource is what both backends store alike.
type resource struct {
	group       schema.GroupResource
	codec       runtime.Codec
	newFunc     func() runtime.Object
	newListFunc func() runtime.Object
	// prefix is what keys begin with.
	prefix string
	// attributes are for the watch cache. They may be nil without one.
	attributes storage.AttrFunc
	// indexers are for ours and for the watch cache; etcd3 has none.
	indexers cache.Indexers
}

func (r resource) config() *storagebackend.ConfigForResource {
	return storagebackend.NewDefaultConfig(bolt.DefaultPrefix, r.codec).ForResource(r.group)
}

// opened is a storage that is ready for use, and how to end it.
type opened struct {
	storage.Interface
	close func() error
	// server is the process id of the server, 0 if this process is it.
	server int
}

// backend opens a storage in an empty directory, as a server would: with its
// compaction running.
type backend interface {
	name() string
	open(ctx context.Context, dir string, r resource) (*opened, error)
}

// ours is package bolt over package kv, in this process.
type ours struct{}

func (ours) name() string { return nameOurs }

func (ours) open(ctx context.Context, dir string, r resource) (*opened, error) {
	db, err := kv.Open(filepath.Join(dir, nameOurs), kv.Options{})
	if err != nil {
		return nil, fmt.Errorf("open our database: %w", err)
	}
	expirer := bolt.NewExpirer(db, nil)
	decorate := bolt.NewDecorator(bolt.Backend{DB: db, Expirer: expirer})
	store, destroy, err := decorate(r.config(), r.prefix, nil, r.newFunc, r.newListFunc, nil, nil, &r.indexers)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	loopCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	loops := []func(context.Context) error{bolt.NewCompactor(bolt.CompactorConfig{DB: db}).Run, expirer.Run}
	errs := make([]error, len(loops))
	var wg sync.WaitGroup
	for i, loop := range loops {
		wg.Go(func() { errs[i] = loop(loopCtx) })
	}
	return &opened{Interface: store, close: func() error {
		destroy()
		cancel()
		wg.Wait()
		return errors.Join(errors.Join(errs...), db.Close())
	}}, nil
}

// etcd3 is k8s.io/apiserver's store, made as kube-apiserver makes it, over an
// etcd that is started for it.
type etcd3 struct {
	binary string
	// cached puts kube-apiserver's watch cache in front, which holds every
	// object in memory and serves watches and lists from there.
	cached bool
}

func (e etcd3) name() string {
	if e.cached {
		return nameCached
	}
	return nameEtcd
}

func (e etcd3) open(ctx context.Context, dir string, r resource) (*opened, error) {
	server, err := startEtcd(ctx, e.binary, filepath.Join(dir, nameEtcd))
	if err != nil {
		return nil, err
	}
	config := r.config()
	config.Transport.ServerList = []string{server.endpoint}
	store, destroy, err := e.connect(config, r)
	if err == nil {
		err = waitReady(ctx, store)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to etcd: %w", err), server.stop())
	}
	return &opened{Interface: store, server: server.cmd.Process.Pid, close: func() error {
		destroy()
		return server.stop()
	}}, nil
}

func (e etcd3) connect(config *storagebackend.ConfigForResource, r resource) (storage.Interface, factory.DestroyFunc, error) {
	if !e.cached {
		return factory.Create(*config, r.newFunc, r.newListFunc, r.prefix)
	}
	keyFunc := func(obj runtime.Object) (string, error) {
		object, err := meta.Accessor(obj)
		if err != nil {
			return "", fmt.Errorf("read the name of %T: %w", obj, err)
		}
		return r.prefix + object.GetNamespace() + "/" + object.GetName(), nil
	}
	return registry.StorageWithCacher()(config, r.prefix, keyFunc, r.newFunc, r.newListFunc, r.attributes, nil, &r.indexers)
}

// waitReady waits until a watch cache has been filled.
func waitReady(ctx context.Context, store storage.Interface) error {
	return wait.PollUntilContextTimeout(ctx, etcdPoll, etcdPatience, true, func(context.Context) (bool, error) {
		return store.ReadinessCheck() == nil, nil
	})
}
