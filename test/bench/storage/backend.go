package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"

	"arl.io/arl/pkg/storage/bolt"
	"arl.io/arl/pkg/storage/kv"
)

// Names of the backends.
const (
	nameOurs = "ours"
	nameEtcd = "etcd3"
)

// resource is what both backends store alike.
type resource struct {
	group       schema.GroupResource
	codec       runtime.Codec
	newFunc     func() runtime.Object
	newListFunc func() runtime.Object
	// prefix is what keys begin with.
	prefix string
}

func (r resource) config() *storagebackend.ConfigForResource {
	return storagebackend.NewDefaultConfig(bolt.DefaultPrefix, r.codec).ForResource(r.group)
}

// opened is a storage that is ready for use, and how to end it.
type opened struct {
	storage.Interface
	close func() error
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
	store, destroy, err := decorate(r.config(), r.prefix, nil, r.newFunc, r.newListFunc, nil, nil, nil)
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
type etcd3 struct{ binary string }

func (etcd3) name() string { return nameEtcd }

func (e etcd3) open(ctx context.Context, dir string, r resource) (*opened, error) {
	server, err := startEtcd(ctx, e.binary, filepath.Join(dir, nameEtcd))
	if err != nil {
		return nil, err
	}
	config := r.config()
	config.Transport.ServerList = []string{server.endpoint}
	store, destroy, err := factory.Create(*config, r.newFunc, r.newListFunc, r.prefix)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to etcd: %w", err), server.stop())
	}
	return &opened{Interface: store, close: func() error {
		destroy()
		return server.stop()
	}}, nil
}
