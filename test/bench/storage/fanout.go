package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"

	"arl.io/arl/pkg/apis/arl"
)

const (
	// fanoutWriters keep both backends' batches filled, so that what is
	// measured is delivery.
	fanoutWriters = 16
	// pace is the rate of writes at which the latency of delivery is measured:
	// one that either backend delivers without a queue.
	pace = 50
	// pacedWrites is how many there are of them.
	pacedWrites = 150
)

// watchersOf is a group of watchers of everything.
type watchersOf struct {
	streams []watch.Interface
	// last is when the last of the watchers had the event of a revision; left
	// counts those that have not had it.
	mu   sync.Mutex
	last map[int64]time.Time
	left map[int64]int
}

func startWatchers(ctx context.Context, store storage.Interface, n int) (*watchersOf, error) {
	w := &watchersOf{last: map[int64]time.Time{}, left: map[int64]int{}}
	for range n {
		stream, err := store.Watch(ctx, taskPrefix, storage.ListOptions{
			Recursive: true, ResourceVersion: "", Predicate: storage.Everything,
		})
		if err != nil {
			w.stop()
			return nil, fmt.Errorf("watch: %w", err)
		}
		w.streams = append(w.streams, stream)
	}
	return w, nil
}

func (w *watchersOf) stop() {
	for _, stream := range w.streams {
		stream.Stop()
	}
}

// receive waits until every watcher has had n events.
func (w *watchersOf) receive(ctx context.Context, n int) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, stream := range w.streams {
		group.Go(func() error {
			for range n {
				select {
				case event, ok := <-stream.ResultChan():
					if !ok || event.Type != watch.Added {
						return fmt.Errorf("a watch ended or answered %q: %v", event.Type, event.Object)
					}
					if err := w.note(event); err != nil {
						return err
					}
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func (w *watchersOf) note(event watch.Event) error {
	now := time.Now()
	object, err := meta.Accessor(event.Object)
	if err != nil {
		return fmt.Errorf("read an event: %w", err)
	}
	rev, err := strconv.ParseInt(object.GetResourceVersion(), 10, 64)
	if err != nil {
		return fmt.Errorf("read an event: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last[rev] = now
	w.left[rev]++
	return nil
}

// fanout is the case of many watchers of the same objects: first events as
// fast as they can be delivered, then the latency of single ones.
func fanout(watchers, events int) benchmark {
	return benchmark{name: fmt.Sprintf("fan-out to %d watchers", watchers), resource: tasks(),
		run: func(ctx context.Context, store storage.Interface) ([]sample, error) {
			w, err := startWatchers(ctx, store, watchers)
			if err != nil {
				return nil, err
			}
			defer w.stop()
			full, err := w.flood(ctx, store, events)
			if err != nil {
				return nil, err
			}
			paced, err := w.pace(ctx, store)
			return []sample{full, paced}, err
		}}
}

// flood writes as fast as it can; the time ends when the last watcher has the
// last event.
func (w *watchersOf) flood(ctx context.Context, store storage.Interface, events int) (sample, error) {
	start := time.Now()
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.receive(groupCtx, events) })
	for i := range fanoutWriters {
		group.Go(func() error {
			for j := i; j < events; j += fanoutWriters {
				name := fmt.Sprintf("flood-%d", j)
				if err := store.Create(groupCtx, taskKey(name), newTask(name), &arl.Task{}, 0); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return sample{}, err
	}
	return sample{metric: "events delivered/s, flood", count: events * len(w.streams), elapsed: time.Since(start)}, nil
}

// pace writes one at a time and measures from the answer to the moment when
// the last watcher had the event. A watcher that was told before the writer
// counts as 0.
func (w *watchersOf) pace(ctx context.Context, store storage.Interface) (sample, error) {
	answered := map[int64]time.Time{}
	start := time.Now()
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.receive(groupCtx, pacedWrites) })
	group.Go(func() error {
		ticker := time.NewTicker(time.Second / pace)
		defer ticker.Stop()
		for i := range pacedWrites {
			name, out := fmt.Sprintf("pace-%d", i), &arl.Task{}
			if err := store.Create(groupCtx, taskKey(name), newTask(name), out, 0); err != nil {
				return err
			}
			now := time.Now()
			rev, err := strconv.ParseInt(out.ResourceVersion, 10, 64)
			if err != nil {
				return fmt.Errorf("read the answer to a create: %w", err)
			}
			answered[rev] = now
			select {
			case <-ticker.C:
			case <-groupCtx.Done():
				return groupCtx.Err()
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return sample{}, err
	}
	s := sample{metric: "write answered -> last watcher", elapsed: time.Since(start)}
	for rev, at := range answered {
		if w.left[rev] != len(w.streams) {
			return sample{}, errors.New("an event went to some watchers only")
		}
		s.latencies = append(s.latencies, max(0, w.last[rev].Sub(at)))
	}
	return s, nil
}
