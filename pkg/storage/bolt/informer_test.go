package bolt

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
	clientfeatures "k8s.io/client-go/features"
	clientfeaturestesting "k8s.io/client-go/features/testing"
	"k8s.io/client-go/tools/cache"
)

// source is what an informer reads from: a store, with a connection that the
// test can cut.
type source struct {
	store *Store
	// line is held for writing while the connection is cut.
	line sync.RWMutex

	// lists counts lists, and expired watches that ask for what is compacted.
	lists, expired atomic.Int64

	mu   sync.Mutex
	open []watch.Interface
}

func (s *source) options(o metav1.ListOptions) storage.ListOptions {
	pred := storage.Everything
	pred.Limit, pred.Continue, pred.AllowWatchBookmarks = o.Limit, o.Continue, o.AllowWatchBookmarks
	return storage.ListOptions{
		ResourceVersion:      o.ResourceVersion,
		ResourceVersionMatch: o.ResourceVersionMatch,
		SendInitialEvents:    o.SendInitialEvents,
		Predicate:            pred,
		Recursive:            true,
	}
}

func (s *source) list(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	s.lists.Add(1)
	list := &example.PodList{}
	return list, s.store.GetList(ctx, "/pods/", s.options(o), list)
}

func (s *source) watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	s.line.RLock()
	defer s.line.RUnlock()
	w, err := s.store.Watch(ctx, "/pods/", s.options(o))
	if err != nil {
		return nil, err
	}
	rev, err := s.store.Versioner().ParseResourceVersion(o.ResourceVersion)
	if err != nil {
		return nil, err
	}
	if o.SendInitialEvents == nil && rev < uint64(s.store.CompactRevision()) {
		s.expired.Add(1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = append(s.open, w)
	return watch.Filter(w, func(e watch.Event) (watch.Event, bool) { return unwrap(e), true }), nil
}

// cut ends all watches.
func (s *source) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.open {
		w.Stop()
	}
	s.open = nil
}

// churn writes at random to pods of a namespace of its own, until there is
// nothing left of the writes it shares with others.
func churn(ctx context.Context, s *Store, namespace string, left *atomic.Int64) error {
	random := rand.New(rand.NewPCG(1, uint64(len(namespace))))
	exists := map[string]bool{}
	for left.Add(-1) >= 0 {
		pod := &example.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("pod-%d", random.IntN(25))}}
		key := podKey(pod)
		var err error
		switch {
		case !exists[key]:
			err = s.Create(ctx, key, pod, nil, 0)
			exists[key] = true
		case random.IntN(4) == 0:
			err = s.Delete(ctx, key, &example.Pod{}, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
			exists[key] = false
		default:
			err = s.GuaranteedUpdate(ctx, key, &example.Pod{}, false, nil,
				storage.SimpleUpdate(func(obj runtime.Object) (runtime.Object, error) {
					p := obj.(*example.Pod)
					p.Labels = map[string]string{"n": strconv.FormatUint(random.Uint64(), 10)}
					return p, nil
				}), nil)
		}
		if err != nil {
			return fmt.Errorf("writing %s: %w", key, err)
		}
	}
	return nil
}

func TestInformersStayInSync(t *testing.T) {
	for _, watchList := range []bool{true, false} {
		t.Run(fmt.Sprintf("watchList=%t", watchList), func(t *testing.T) {
			clientfeaturestesting.SetFeatureDuringTest(t, clientfeatures.WatchListClient, watchList)
			f := newFixture(t)
			src := &source{store: f.Store}
			informer := startInformer(t, src)
			churnAndCompact(t, f, src)
			wantInSync(t, f, informer)
			if src.expired.Load() == 0 {
				t.Error("the informer never met compaction")
			}
			if lists := src.lists.Load(); watchList != (lists == 0) {
				t.Errorf("the informer listed %d times", lists)
			}
		})
	}
}

func startInformer(t *testing.T, src *source) cache.SharedIndexInformer {
	t.Helper()
	informer := cache.NewSharedIndexInformer(&cache.ListWatch{
		ListWithContextFunc:  src.list,
		WatchFuncWithContext: src.watch,
	}, &example.Pod{}, 0, cache.Indexers{})
	runUntilCleanup(t, func(ctx context.Context) error {
		informer.RunWithContext(ctx)
		return nil
	})
	eventually(t, "the informer has synced", informer.HasSynced)
	return informer
}

// churnAndCompact makes 10,000 writes from many clients, while connections
// break and, once, history is compacted that the informer has not seen.
func churnAndCompact(t *testing.T, f *fixture, src *source) {
	t.Helper()
	const writes, writers = 10_000, 32
	var left atomic.Int64
	left.Store(writes)
	errs := make(chan error, writers)
	for i := range writers {
		go func() { errs <- churn(t.Context(), f.Store, fmt.Sprintf("ns-%0*d", i+1, i), &left) }()
	}
	reached := func(n int64) func() bool { return func() bool { return left.Load() < writes-n } }
	for n := int64(1000); n < writes/2; n += 1000 {
		eventually(t, "some more writes are done", reached(n))
		src.cut()
	}
	src.line.Lock()
	src.cut()
	eventually(t, "half of the writes are done", reached(writes/2))
	f.mustCreate(t, "ns", "not-seen-before-compaction")
	if err := f.db.Compact(t.Context(), f.db.Snapshot().Revision()); err != nil {
		t.Error(err)
	}
	src.line.Unlock()
	for range writers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if rev := f.db.Snapshot().Revision(); rev < writes {
		t.Errorf("only at revision %d after %d writes", rev, writes)
	}
}

func wantInSync(t *testing.T, f *fixture, informer cache.SharedIndexInformer) {
	t.Helper()
	list := &example.PodList{}
	opts := storage.ListOptions{Recursive: true, Predicate: storage.Everything}
	if err := f.GetList(t.Context(), "/pods/", opts, list); err != nil {
		t.Fatal(err)
	}
	want := map[string]*example.Pod{}
	for i := range list.Items {
		want[podKey(&list.Items[i])] = &list.Items[i]
	}
	var diff string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		got := map[string]*example.Pod{}
		for _, obj := range informer.GetStore().List() {
			got[podKey(obj.(*example.Pod))] = obj.(*example.Pod)
		}
		if diff = cmp.Diff(want, got); diff == "" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("the informer differs from the store (-store +informer):\n%s", diff)
}
