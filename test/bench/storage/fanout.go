package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/test/bench/load"
)

const (
	// fanoutWriters keep both backends' batches filled, so that what is
	// measured is delivery.
	fanoutWriters = 64
	// pace is the rate of writes at which the latency of delivery is measured:
	// one that either backend delivers without a queue.
	pace = 50
	// pacedWrites is how many there are of them.
	pacedWrites = 150
	// encodedShare is the part of the events that is encoded, too: it takes
	// several times as long.
	encodedShare = 4
)

// watchersOf is a group of watchers of everything.
type watchersOf struct {
	streams []watch.Interface

	mu sync.Mutex
	// last is when the last of the watchers had the event of a revision; had
	// counts those that have had it.
	last map[int64]time.Time
	had  map[int64]int
}

func startWatchers(ctx context.Context, store storage.Interface, n int) (*watchersOf, error) {
	w := &watchersOf{last: map[int64]time.Time{}, had: map[int64]int{}}
	for range n {
		stream, err := store.Watch(ctx, taskPrefix, storage.ListOptions{Recursive: true, Predicate: storage.Everything})
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

// receive hands n events of every watcher to handle, and waits for them all.
func (w *watchersOf) receive(ctx context.Context, n int, handle func(runtime.Object) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, stream := range w.streams {
		group.Go(func() error {
			for range n {
				select {
				case event, ok := <-stream.ResultChan():
					if !ok || event.Type != watch.Added {
						return fmt.Errorf("a watch ended or answered %q: %v", event.Type, event.Object)
					}
					if err := handle(event.Object); err != nil {
						return fmt.Errorf("handle an event: %w", err)
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

// fanout is the case of many watchers of the same objects: first events as
// fast as they can be delivered, then the same with each event encoded by each
// watcher, as a server does for its clients, then the latency of single ones.
//
// kube-apiserver's watch cache is no part of it: it ends the watches of
// whoever falls behind, so it cannot be flooded.
func fanout(watchers, events int) benchmark {
	return benchmark{name: fmt.Sprintf("fan-out to %d watchers", watchers),
		run: func(ctx context.Context, store *opened) (samples []sample, err error) {
			w, err := startWatchers(ctx, store, watchers)
			if err != nil {
				return nil, err
			}
			defer w.stop()
			encoder := jsonEncoder()
			for _, part := range []struct {
				metric string
				watch  func() (sample, error)
			}{
				{"events delivered/s", func() (sample, error) {
					return w.flood(ctx, store, "flood", events, func(runtime.Object) error { return nil })
				}},
				{"events delivered and encoded/s", func() (sample, error) {
					return w.flood(ctx, store, "encoded", events/encodedShare, func(obj runtime.Object) error {
						return encoder.Encode(obj, io.Discard)
					})
				}},
				{"write answered -> last watcher", func() (sample, error) { return w.pace(ctx, store) }},
			} {
				s, err := store.measured(part.watch)
				if err != nil {
					return nil, err
				}
				s.metric = part.metric
				samples = append(samples, s)
			}
			return samples, nil
		}}
}

// flood writes as fast as it can; the time ends when the last watcher has
// handled the last event.
func (w *watchersOf) flood(ctx context.Context, store storage.Interface, name string, events int, handle func(runtime.Object) error) (sample, error) {
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.receive(groupCtx, events, handle) })
	for i := range fanoutWriters {
		group.Go(func() error {
			for j := i; j < events; j += fanoutWriters {
				name := fmt.Sprintf("%s-%d", name, j)
				if err := store.Create(groupCtx, taskKey(name), load.New(name, began), &arl.Task{}, 0); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return sample{count: events * len(w.streams)}, group.Wait()
}

// pace writes one at a time and measures from the answer to the moment when
// the last watcher had the event. A watcher that was told before the writer
// counts as 0.
func (w *watchersOf) pace(ctx context.Context, store storage.Interface) (sample, error) {
	answered := map[int64]time.Time{}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.receive(groupCtx, pacedWrites, w.note) })
	group.Go(func() error {
		ticker := time.NewTicker(time.Second / pace)
		defer ticker.Stop()
		for i := range pacedWrites {
			name, out := fmt.Sprintf("pace-%d", i), &arl.Task{}
			if err := store.Create(groupCtx, taskKey(name), load.New(name, began), out, 0); err != nil {
				return err
			}
			now := time.Now()
			rev, err := revision(out)
			if err != nil {
				return err
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
	var s sample
	for rev, at := range answered {
		if w.had[rev] != len(w.streams) {
			return sample{}, errors.New("an event went to some watchers only")
		}
		s.latencies = append(s.latencies, max(0, w.last[rev].Sub(at)))
	}
	return s, nil
}

func (w *watchersOf) note(obj runtime.Object) error {
	now := time.Now()
	rev, err := revision(obj)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last[rev] = now
	w.had[rev]++
	return nil
}

// revision returns the revision of an object, also of one that is shared by
// watchers for the sake of its encoding.
func revision(obj runtime.Object) (int64, error) {
	if shared, ok := obj.(runtime.CacheableObject); ok {
		obj = shared.GetObject()
	}
	object, err := meta.Accessor(obj)
	if err != nil {
		return 0, fmt.Errorf("read a revision: %w", err)
	}
	rev, err := strconv.ParseInt(object.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read a revision: %w", err)
	}
	return rev, nil
}
