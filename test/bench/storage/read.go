package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/storage"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/bench/load"
)

const (
	// pageSize is that of client-go's pager.
	pageSize = 500
	// fillers is enough to fill either backend's batches.
	fillers = 64
	// readers is how many clients get at the same time.
	readers = 16
	// listTimes is how often everything is listed in a round, selectTimes how
	// often the tasks of one sandbox are, and getTimes how many objects are got.
	listTimes, selectTimes, getTimes = 5, 20, 10_000
	// perSandbox is how many tasks a sandbox has.
	perSandbox = 100
)

// fill stores n finished tasks.
func fill(ctx context.Context, store storage.Interface, n int) error {
	group, ctx := errgroup.WithContext(ctx)
	for i := range fillers {
		group.Go(func() error {
			for j := i; j < n; j += fillers {
				task := load.New(fmt.Sprintf("task-%06d", j), began)
				task.Spec.SandboxRef = fmt.Sprintf("sandbox-%d", j/perSandbox)
				load.Start(task, began)
				load.Finish(task, began)
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
	return benchmark{name: fmt.Sprintf("read %d objects", objects), watchCache: true,
		prepare: func(ctx context.Context, store storage.Interface) error { return fill(ctx, store, objects) },
		run: func(ctx context.Context, store *opened) (samples []sample, err error) {
			pages := storage.Everything
			pages.Limit = pageSize
			ofSandbox := storage.SelectionPredicate{
				Label: labels.Everything(), Field: fields.OneTermEqualSelector(v1alpha1.FieldTaskSandboxRef, "sandbox-0"),
				GetAttrs:    attributes,
				IndexFields: []string{v1alpha1.FieldTaskSandboxRef, v1alpha1.FieldTaskPoolRef, v1alpha1.FieldTaskState},
			}
			for _, part := range []struct {
				metric string
				read   func() (sample, error)
			}{
				{"whole list: objects/s", func() (sample, error) { return lists(ctx, store, listTimes, objects, storage.Everything) }},
				{fmt.Sprintf("list in pages of %d: objects/s", pageSize), func() (sample, error) { return lists(ctx, store, listTimes, objects, pages) }},
				{"list of a sandbox's tasks: objects/s", func() (sample, error) {
					return lists(ctx, store, selectTimes, min(objects, perSandbox), ofSandbox)
				}},
				{fmt.Sprintf("get, %d readers: gets/s", readers), func() (sample, error) { return gets(ctx, store, objects) }},
			} {
				s, err := store.measured(part.read)
				if err != nil {
					return nil, err
				}
				s.metric = part.metric
				samples = append(samples, s)
			}
			return samples, nil
		}}
}

// lists lists what the predicate selects again and again, and checks that it
// is n objects each time; a latency is that of a list with all its pages.
func lists(ctx context.Context, store storage.Interface, times, n int, predicate storage.SelectionPredicate) (sample, error) {
	s := sample{count: n * times}
	for range times {
		start, listed := time.Now(), 0
		options := storage.ListOptions{Recursive: true, Predicate: predicate}
		for {
			var list arl.TaskList
			if err := store.GetList(ctx, taskPrefix, options, &list); err != nil {
				return sample{}, fmt.Errorf("list: %w", err)
			}
			listed += len(list.Items)
			if options.Predicate.Continue = list.Continue; list.Continue == "" {
				break
			}
		}
		if listed != n {
			return sample{}, fmt.Errorf("listed %d objects, want %d", listed, n)
		}
		s.latencies = append(s.latencies, time.Since(start))
	}
	return s, nil
}

func gets(ctx context.Context, store storage.Interface, objects int) (sample, error) {
	s := sample{count: getTimes, latencies: make([]time.Duration, getTimes)}
	group, ctx := errgroup.WithContext(ctx)
	for i := range readers {
		group.Go(func() error {
			for j := i; j < getTimes; j += readers {
				start := time.Now()
				if err := store.Get(ctx, taskKey(fmt.Sprintf("task-%06d", j%objects)), storage.GetOptions{}, &arl.Task{}); err != nil {
					return fmt.Errorf("get: %w", err)
				}
				s.latencies[j] = time.Since(start)
			}
			return nil
		})
	}
	return s, group.Wait()
}
