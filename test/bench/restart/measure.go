package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apiserver"
	"arl.io/arl/pkg/storage/bolt"
	"arl.io/arl/pkg/storage/kv"
	"arl.io/arl/test/bench/load"
	"arl.io/arl/test/harness"
)

// storageDir is where a server keeps its database within its data directory.
const storageDir = "storage"

// Where the objects are when the server starts: all of them in the log, as
// after a burst of creates, or all of them in the compacted state.
const (
	inLog   = "log"
	inState = "state"
)

var places = []string{inLog, inState}

// result is what was measured of one number of objects.
type result struct {
	objects int
	where   string
	// open is how long the opening of the database takes, ready how long it
	// takes a server from the start of its process. Both are medians.
	open, ready time.Duration
	// perObject is the heap that one object keeps in the database alone.
	perObject float64
	// server is what the last of the servers had used.
	server usage
}

// measure fills a database, starts it several times and removes it.
func measure(ctx context.Context, dir string, s settings, n int, where string) (r result, err error) {
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r = result{objects: n, where: where}
	storage := filepath.Join(dir, storageDir)
	if s.server != "" {
		// The first start makes keys and certificates, which no restart does.
		if _, _, err := startServer(ctx, s.server, dir); err != nil {
			return r, err
		}
	}
	if err := fill(ctx, storage, n, where); err != nil {
		return r, fmt.Errorf("fill the database: %w", err)
	}
	var opens, readies []time.Duration
	for range s.times {
		took, perObject, err := openOnce(storage, n)
		if err != nil {
			return r, err
		}
		opens, r.perObject = append(opens, took), perObject
	}
	for range s.times {
		if s.server == "" {
			break
		}
		took, used, err := startServer(ctx, s.server, dir)
		if err != nil {
			return r, err
		}
		readies, r.server = append(readies, took), used
	}
	r.open, r.ready = load.Percentile(opens, 50), load.Percentile(readies, 50)
	return r, nil
}

// fillers fill the commits of the database.
const fillers = 64

// fill stores n finished tasks, as the API server would.
func fill(ctx context.Context, dir string, n int, where string) (err error) {
	codec, err := apiserver.StorageCodec(v1alpha1.SchemeGroupVersion)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	db, err := kv.Open(dir, kv.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	group := schema.GroupResource{Group: v1alpha1.GroupName, Resource: "tasks"}
	prefix := "/" + group.Group + "/" + group.Resource
	store, err := bolt.New(bolt.Config{
		DB: db, Codec: codec, NewFunc: func() kruntime.Object { return &arl.Task{} },
		GroupResource: group, Prefix: bolt.DefaultPrefix, ResourcePrefix: prefix,
	})
	if err != nil {
		return err
	}
	defer store.Close()
	writers, writeCtx := errgroup.WithContext(ctx)
	for i := range fillers {
		writers.Go(func() error {
			for j := i; j < n; j += fillers {
				now := time.Now()
				task := load.New(fmt.Sprintf("task-%07d", j), now)
				load.Start(task, now)
				load.Finish(task, now)
				if err := store.Create(writeCtx, prefix+"/"+load.Namespace+"/"+task.Name, task, nil, 0); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := writers.Wait(); err != nil || where == inLog {
		return err
	}
	return db.Compact(ctx, db.Snapshot().Revision())
}

// openOnce opens the database and says how long it took and how much of the
// heap each object then has.
func openOnce(dir string, n int) (took time.Duration, perObject float64, err error) {
	before := heap()
	start := time.Now()
	db, err := kv.Open(dir, kv.Options{})
	if err != nil {
		return 0, 0, err
	}
	took = time.Since(start)
	defer func() { err = errors.Join(err, db.Close()) }()
	if got := db.Stats().Keys; got < n {
		return 0, 0, fmt.Errorf("%d objects after the start, want %d", got, n)
	}
	perObject = float64(heap()-before) / float64(n)
	runtime.KeepAlive(db)
	return took, perObject, nil
}

// heap is what a collection leaves.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// startServer starts a server on a data directory, waits until it is ready,
// reads what it has used and stops it.
func startServer(ctx context.Context, binary, dir string) (took time.Duration, used usage, err error) {
	server, err := harness.New(harness.Config{Binary: binary, Dir: dir})
	if err != nil {
		return 0, usage{}, err
	}
	start := time.Now()
	if err := server.Start(ctx); err != nil {
		return 0, usage{}, err
	}
	took = time.Since(start)
	defer func() { err = errors.Join(err, server.Stop(), os.Remove(server.LogFile())) }()
	used, err = usageOf(ctx, server)
	return took, used, err
}
