package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apiserver/pkg/storage"

	"arl.io/arl/pkg/apis/arl"
)

const (
	// pageSize is that of client-go's pager.
	pageSize = 500
	// fillers is enough to fill either backend's batches.
	fillers = 64
	// readers is how many clients get at the same time.
	readers = 16
	// listTimes is how often everything is listed in a round, and getTimes how
	// many objects are got.
	listTimes, getTimes = 10, 20_000
)

// fill stores n finished tasks.
func fill(ctx context.Context, store storage.Interface, n int) error {
	group, ctx := errgroup.WithContext(ctx)
	for i := range fillers {
		group.Go(func() error {
			for j := i; j < n; j += fillers {
				task := newTask(fmt.Sprintf("task-%06d", j))
				startTask(task)
				finishTask(task)
				if err := store.Create(ctx, taskKey(task.Name), task, nil, 0); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// reads is the case of lists, whole and in pages, and of gets.
func reads(objects int) benchmark {
	return benchmark{name: fmt.Sprintf("read %d objects", objects), resource: tasks(),
		prepare: func(ctx context.Context, store storage.Interface) error { return fill(ctx, store, objects) },
		run: func(ctx context.Context, store storage.Interface) ([]sample, error) {
			whole, err := lists(ctx, store, objects, 0)
			if err != nil {
				return nil, err
			}
			paged, err := lists(ctx, store, objects, pageSize)
			if err != nil {
				return nil, err
			}
			got, err := gets(ctx, store, objects)
			if err != nil {
				return nil, err
			}
			whole.metric, paged.metric, got.metric = "whole list: objects/s", fmt.Sprintf("list in pages of %d: objects/s", pageSize), fmt.Sprintf("get, %d readers: gets/s", readers)
			return []sample{whole, paged, got}, nil
		}}
}

// lists lists everything again and again; a latency is that of a whole list.
func lists(ctx context.Context, store storage.Interface, objects int, limit int64) (sample, error) {
	s := sample{count: objects * listTimes}
	start := time.Now()
	for range listTimes {
		began, listed, token := time.Now(), 0, ""
		for {
			var list arl.TaskList
			options := storage.ListOptions{Recursive: true, Predicate: storage.Everything}
			options.Predicate.Limit, options.Predicate.Continue = limit, token
			if err := store.GetList(ctx, taskPrefix, options, &list); err != nil {
				return sample{}, fmt.Errorf("list: %w", err)
			}
			listed += len(list.Items)
			if token = list.Continue; token == "" {
				break
			}
		}
		if listed != objects {
			return sample{}, fmt.Errorf("listed %d objects, want %d", listed, objects)
		}
		s.latencies = append(s.latencies, time.Since(began))
	}
	s.elapsed = time.Since(start)
	return s, nil
}

func gets(ctx context.Context, store storage.Interface, objects int) (sample, error) {
	s := sample{count: getTimes, latencies: make([]time.Duration, getTimes)}
	start := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for i := range readers {
		group.Go(func() error {
			for j := i; j < getTimes; j += readers {
				began := time.Now()
				if err := store.Get(ctx, taskKey(fmt.Sprintf("task-%06d", j%objects)), storage.GetOptions{}, &arl.Task{}); err != nil {
					return fmt.Errorf("get: %w", err)
				}
				s.latencies[j] = time.Since(began)
			}
			return nil
		})
	}
	err := group.Wait()
	s.elapsed = time.Since(start)
	return s, err
}
