package consistency

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/tools/cache"

	"arl.io/arl/pkg/storage/bolt"
	"arl.io/arl/pkg/storage/kv"
)

// patience is how long a test, or a round of one, may take on a busy machine.
const patience = 2 * time.Minute

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

// podStore is a store of pods and the database under it, which is compacted
// but not otherwise touched by the tests.
type podStore struct {
	*bolt.Store
	db *kv.DB
}

// opened counts how often a database was opened.
var opened atomic.Int64

func openStore(dir string, bookmarks time.Duration) (*podStore, error) {
	// Values of every second opening are in the files only.
	db, err := kv.Open(dir, kv.Options{LargeValueBytes: int(1 + opened.Add(1)%2<<20)})
	if err != nil {
		return nil, err
	}
	s, err := bolt.New(bolt.Config{
		DB:             db,
		Codec:          codecs.LegacyCodec(examplev1.SchemeGroupVersion),
		NewFunc:        func() runtime.Object { return &example.Pod{} },
		GroupResource:  schema.GroupResource{Resource: "pods"},
		Prefix:         "registry",
		ResourcePrefix: "/pods",
		BookmarkPeriod: bookmarks,
		Indexers: cache.Indexers{storage.FieldIndex(nodeField): func(obj any) ([]string, error) {
			return []string{obj.(*example.Pod).Spec.NodeName}, nil
		}},
	})
	if err != nil {
		return nil, err
	}
	return &podStore{Store: s, db: db}, nil
}

func (s *podStore) close() error {
	s.Close()
	return s.db.Close()
}

// newStore returns an empty store that is closed when the test ends.
func newStore(tb testing.TB, bookmarks time.Duration) *podStore {
	tb.Helper()
	return mustOpen(tb, tb.TempDir(), bookmarks)
}

func mustOpen(tb testing.TB, dir string, bookmarks time.Duration) *podStore {
	tb.Helper()
	s, err := openStore(dir, bookmarks)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.close(); err != nil {
			tb.Errorf("closing the database: %v", err)
		}
	})
	return s
}

// podOf returns the pod that an event or a list shows. Events that go to many
// watches may come wrapped.
func podOf(tb testing.TB, obj runtime.Object) *example.Pod {
	tb.Helper()
	if wrapped, ok := obj.(runtime.CacheableObject); ok {
		obj = wrapped.GetObject()
	}
	pod, ok := obj.(*example.Pod)
	if !ok {
		tb.Errorf("got a %T, want a pod", obj)
		return &example.Pod{}
	}
	return pod
}

// waiting returns a context for what must happen within the test's patience.
func waiting(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	tb.Cleanup(cancel)
	return ctx
}
