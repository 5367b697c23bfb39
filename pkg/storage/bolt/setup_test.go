package bolt

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/api/apitesting"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/storage"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/apiserver/pkg/storage/value"

	"arl.io/arl/pkg/storage/kv"
)

// testPrefix is what the transformer of the tests puts before every value.
const testPrefix = "test!"

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

var (
	scheme = runtime.NewScheme()
	codecs = serializer.NewCodecFactory(scheme)
)

func init() {
	metav1.AddToGroupVersion(scheme, metav1.SchemeGroupVersion)
	utilruntime.Must(example.AddToScheme(scheme))
	utilruntime.Must(examplev1.AddToScheme(scheme))
}

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Started by the import of klog, for the life of the process.
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"),
	)
}

// fixture is a store on a database of its own.
type fixture struct {
	*Store
	db    *kv.DB
	codec runtime.Codec
	// trimmed is how many entries have left the log: as many as are compacted, in the end.
	trimmed *atomic.Int64
	// transformer is nil if the test brought its own.
	transformer *switchTransformer
}

func newPod() runtime.Object { return &example.Pod{} }

func podConfig(db *kv.DB) Config {
	return Config{
		DB:             db,
		Codec:          apitesting.TestCodec(codecs, examplev1.SchemeGroupVersion),
		Transformer:    newSwitchTransformer(),
		NewFunc:        newPod,
		GroupResource:  schema.GroupResource{Resource: "pods"},
		ResourcePrefix: "/pods/",
	}
}

// openDB returns an empty database that is closed when the test ends.
func openDB(tb testing.TB, opts kv.Options) *kv.DB {
	tb.Helper()
	db, err := kv.Open(tb.TempDir(), opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Errorf("closing the database: %v", err)
		}
	})
	return db
}

// newFixture returns a store of pods, with a running expirer, as changed by
// the options.
func newFixture(tb testing.TB, options ...func(*Config)) *fixture {
	tb.Helper()
	trimmed := &atomic.Int64{}
	db := openDB(tb, kv.Options{LargeValueBytes: *largeAbove, OnCommit: func(s kv.CommitStats) { trimmed.Add(int64(s.Trimmed)) }})
	c := podConfig(db)
	c.Expirer = NewExpirer(db, nil)
	for _, o := range options {
		o(&c)
	}
	s, err := New(c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	if c.Expirer != nil {
		runUntilCleanup(tb, c.Expirer.Run)
	}
	transformer, _ := c.Transformer.(*switchTransformer)
	return &fixture{Store: s, db: db, codec: c.Codec, trimmed: trimmed, transformer: transformer}
}

// runUntilCleanup runs a loop and joins it when the test ends.
func runUntilCleanup(tb testing.TB, run func(context.Context) error) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("loop ended with: %v", err)
		}
	})
}

// switchTransformer lets a test change the transformer of a store in use.
type switchTransformer struct {
	now atomic.Pointer[value.Transformer]
}

func newSwitchTransformer() *switchTransformer {
	s := &switchTransformer{}
	s.set(storagetesting.NewPrefixTransformer([]byte(testPrefix), false))
	return s
}

func (s *switchTransformer) get() value.Transformer  { return *s.now.Load() }
func (s *switchTransformer) set(t value.Transformer) { s.now.Store(&t) }

func (s *switchTransformer) TransformFromStorage(ctx context.Context, data []byte, dataCtx value.Context) ([]byte, bool, error) {
	return s.get().TransformFromStorage(ctx, data, dataCtx)
}

func (s *switchTransformer) TransformToStorage(ctx context.Context, data []byte, dataCtx value.Context) ([]byte, error) {
	return s.get().TransformToStorage(ctx, data, dataCtx)
}

// UpdatePrefixTransformer implements storagetesting.InterfaceWithPrefixTransformer.
func (f *fixture) UpdatePrefixTransformer(modify storagetesting.PrefixTransformerModifier) func() {
	before := f.transformer.get().(*storagetesting.PrefixTransformer)
	changed := *before
	f.transformer.set(modify(&changed))
	return func() { f.transformer.set(before) }
}

// UpdateTransformer implements storagetesting.InterfaceWithTransformerOverride.
func (f *fixture) UpdateTransformer(modify storagetesting.TransformerModifier) func() {
	before := f.transformer.get()
	f.transformer.set(modify(before))
	return func() { f.transformer.set(before) }
}

// checkStored fails the test unless the object of key is stored without what
// must not be.
func (f *fixture) checkStored(_ context.Context, t *testing.T, key string) {
	t.Helper()
	entry, found := f.db.Snapshot().Get(key)
	if !found {
		t.Fatalf("nothing is stored at %q", key)
	}
	stored, err := entry.Load()
	if err != nil {
		t.Fatal(err)
	}
	obj, err := runtime.Decode(f.codec, stored[len(testPrefix):])
	if err != nil {
		t.Fatalf("decoding %q: %v", stored, err)
	}
	pod := obj.(*example.Pod)
	if pod.ResourceVersion != "" || bytes.Contains(stored, []byte("selfLink")) {
		t.Errorf("stored with a resourceVersion or a selfLink: %s", stored)
	}
}

// compact is a storagetesting.Compaction. The suite counts on the write that a
// compaction of etcd takes.
func (f *fixture) compact(ctx context.Context, t *testing.T, resourceVersion string) {
	t.Helper()
	rev, err := f.Versioner().ParseResourceVersion(resourceVersion)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.db.Compact(ctx, int64(rev)); err != nil {
		t.Fatal(err)
	}
	f.increaseRV(ctx, t)
}

// increaseRV is a storagetesting.IncreaseRVFunc: it writes something that is
// no object of the store.
func (f *fixture) increaseRV(ctx context.Context, t *testing.T) int64 {
	t.Helper()
	const key = "increaseRV"
	before, _ := f.db.Snapshot().Get(key)
	entry, err := f.db.Apply(ctx, kv.Op{Key: key, Value: []byte("ok"), Expect: before.ModRev})
	if err != nil {
		t.Fatal(err)
	}
	return entry.ModRev
}

// mustCreate stores a pod and returns it as stored.
func (f *fixture) mustCreate(tb testing.TB, namespace, name string) *example.Pod {
	tb.Helper()
	out := &example.Pod{}
	in := &example.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := f.Create(tb.Context(), podKey(in), in, out, 0); err != nil {
		tb.Fatal(err)
	}
	return out
}

// mustLabel gives a pod a label and returns it as stored.
func (f *fixture) mustLabel(tb testing.TB, pod *example.Pod, label, val string) *example.Pod {
	tb.Helper()
	out := &example.Pod{}
	err := f.GuaranteedUpdate(tb.Context(), podKey(pod), out, false, nil,
		storage.SimpleUpdate(func(obj runtime.Object) (runtime.Object, error) {
			p := obj.(*example.Pod)
			p.Labels = map[string]string{label: val}
			return p, nil
		}), nil)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func podKey(p *example.Pod) string { return "/pods/" + p.Namespace + "/" + p.Name }

// nextEvent waits for an event.
func nextEvent(tb testing.TB, w watch.Interface) watch.Event {
	tb.Helper()
	select {
	case e, ok := <-w.ResultChan():
		if !ok {
			tb.Fatal("the watch ended, want an event")
		}
		return unwrap(e)
	case <-time.After(patience):
		tb.Fatal("no event came")
	}
	return watch.Event{}
}

// unwrap gives an event an object of its own instead of the shared one.
func unwrap(e watch.Event) watch.Event {
	if shared, ok := e.Object.(runtime.CacheableObject); ok {
		e.Object = shared.GetObject()
	}
	return e
}

// eventually waits for a condition.
func eventually(tb testing.TB, what string, condition func() bool) {
	tb.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			tb.Fatalf("did not come true: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
