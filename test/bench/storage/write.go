package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/test/bench/load"
)

// writer makes writes one after another and reports how long each took.
type writer func(ctx context.Context, store storage.Interface, name string, took func(time.Duration)) error

// createOnly stores a task and leaves it.
func createOnly(ctx context.Context, store storage.Interface, name string, took func(time.Duration)) error {
	return timed(took, func() error {
		return store.Create(ctx, taskKey(name), load.New(name, began), &arl.Task{}, 0)
	})
}

// lifecycle is what a task costs its storage: a create, two writes of status
// and a delete.
func lifecycle(ctx context.Context, store storage.Interface, name string, took func(time.Duration)) error {
	if err := createOnly(ctx, store, name, took); err != nil {
		return err
	}
	for _, change := range []func(*arl.Task, time.Time){load.Start, load.Finish} {
		if err := timed(took, func() error { return update(ctx, store, name, change) }); err != nil {
			return err
		}
	}
	return timed(took, func() error {
		return store.Delete(ctx, taskKey(name), &arl.Task{}, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
	})
}

func update(ctx context.Context, store storage.Interface, name string, change func(*arl.Task, time.Time)) error {
	return store.GuaranteedUpdate(ctx, taskKey(name), &arl.Task{}, false, nil,
		storage.SimpleUpdate(func(obj runtime.Object) (runtime.Object, error) {
			task := obj.(*arl.Task)
			change(task, began)
			return task, nil
		}), nil)
}

func timed(took func(time.Duration), do func() error) error {
	start := time.Now()
	if err := do(); err != nil {
		return err
	}
	took(time.Since(start))
	return nil
}

// writes is the case of n writers that write as fast as they are answered.
func writes(name string, n int, duration time.Duration, write writer) benchmark {
	return benchmark{name: name, run: func(ctx context.Context, store *opened) ([]sample, error) {
		s, err := store.measured(func() (sample, error) {
			latencies, err := writeAll(ctx, store, n, duration, write)
			return sample{metric: "writes/s", count: len(latencies), latencies: latencies}, err
		})
		return []sample{s}, err
	}}
}

func writeAll(ctx context.Context, store storage.Interface, n int, duration time.Duration, write writer) ([]time.Duration, error) {
	perWriter := make([][]time.Duration, n)
	start := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for i := range n {
		group.Go(func() error {
			took := func(d time.Duration) { perWriter[i] = append(perWriter[i], d) }
			for j := 0; time.Since(start) < duration; j++ {
				if err := write(ctx, store, fmt.Sprintf("task-%d-%d", i, j), took); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return slices.Concat(perWriter...), err
}
