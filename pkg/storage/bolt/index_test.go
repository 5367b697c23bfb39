package bolt

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/client-go/tools/cache"
)

// readCounter counts the values that are read from storage.
type readCounter struct {
	value.Transformer
	reads atomic.Int64
}

func (c *readCounter) TransformFromStorage(ctx context.Context, data []byte, dataCtx value.Context) ([]byte, bool, error) {
	c.reads.Add(1)
	return c.Transformer.TransformFromStorage(ctx, data, dataCtx)
}

func nodeIndexer(obj any) ([]string, error) {
	pod, ok := obj.(*example.Pod)
	if !ok {
		return nil, fmt.Errorf("%T is no pod", obj)
	}
	return []string{pod.Spec.NodeName}, nil
}

var nodeIndex = storage.FieldIndex("spec.nodeName")

func indexed(c *Config) { c.Indexers = cache.Indexers{nodeIndex: nodeIndexer} }

// onNode selects the pods of a node, and says that an index may be used.
func onNode(node string) storage.SelectionPredicate {
	return storage.SelectionPredicate{
		Label:       labels.Everything(),
		Field:       fields.OneTermEqualSelector("spec.nodeName", node),
		IndexFields: []string{"spec.nodeName"},
		GetAttrs: func(obj runtime.Object) (labels.Set, fields.Set, error) {
			return nil, fields.Set{"spec.nodeName": obj.(*example.Pod).Spec.NodeName}, nil
		},
	}
}

// podNames lists pods page by page and returns their names.
func podNames(t *testing.T, s *Store, key string, opts storage.ListOptions) (found []string) {
	t.Helper()
	for {
		list := &example.PodList{}
		opts.Recursive = true
		if err := s.GetList(t.Context(), key, opts, list); err != nil {
			t.Fatal(err)
		}
		for _, pod := range list.Items {
			found = append(found, pod.Name)
		}
		if list.Continue == "" {
			return found
		}
		opts.Predicate.Continue, opts.ResourceVersion, opts.ResourceVersionMatch = list.Continue, "", ""
	}
}

// move sets the node of a pod, which it creates if there is none.
func move(t *testing.T, s *Store, name, node string) {
	t.Helper()
	err := s.GuaranteedUpdate(t.Context(), "/pods/ns/"+name, &example.Pod{}, true, nil,
		storage.SimpleUpdate(func(obj runtime.Object) (runtime.Object, error) {
			pod := obj.(*example.Pod)
			pod.Name, pod.Namespace, pod.Spec.NodeName = name, "ns", node
			return pod, nil
		}), nil)
	if err != nil {
		t.Fatal(err)
	}
}

// TestIndexFindsWhatAScanFinds writes at random and asks twice, once with the
// name of an index that does not exist.
func TestIndexFindsWhatAScanFinds(t *testing.T) {
	f := newFixture(t, indexed)
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		name := fmt.Sprintf("p%02d", rnd.IntN(30))
		if rnd.IntN(4) == 0 {
			err := f.Delete(t.Context(), "/pods/ns/"+name, &example.Pod{}, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
			if err != nil && !storage.IsNotFound(err) {
				t.Fatal(err)
			}
		} else {
			move(t, f.Store, name, []string{"n1", "n2", "n3", ""}[rnd.IntN(4)])
		}
		for _, limit := range []int64{0, 3} {
			pred := onNode([]string{"n1", ""}[rnd.IntN(2)])
			pred.Limit = limit
			got := podNames(t, f.Store, "/pods/", storage.ListOptions{Predicate: pred})
			pred.IndexFields = nil
			want := podNames(t, f.Store, "/pods/", storage.ListOptions{Predicate: pred})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("limit %d (-scan +index):\n%s", limit, diff)
			}
		}
	}
}

// TestIndexReadsOnlyWhatItFinds is what an index is for.
func TestIndexReadsOnlyWhatItFinds(t *testing.T) {
	counter := &readCounter{Transformer: newSwitchTransformer()}
	f := newFixture(t, indexed, func(c *Config) { c.Transformer = counter })
	for i := range 200 {
		move(t, f.Store, fmt.Sprintf("p%03d", i), fmt.Sprintf("n%d", i%50))
	}
	for _, tc := range []struct {
		name string
		pred storage.SelectionPredicate
		want int64
	}{
		{"an indexed field", onNode("n7"), 4},
		{"a value that no object has", onNode("nowhere"), 0},
		{"the empty value, which most objects might have", onNode(""), 200},
		{"everything", storage.Everything, 200},
	} {
		before := counter.reads.Load()
		podNames(t, f.Store, "/pods/", storage.ListOptions{Predicate: tc.pred})
		if got := counter.reads.Load() - before; got != tc.want {
			t.Errorf("%s: %d values were read, want %d", tc.name, got, tc.want)
		}
	}
	// Of two values with the same tag, the one that was not asked for is not found.
	x := f.index
	same := x.indexers
	x.indexers = cache.Indexers{nodeIndex: func(any) ([]string, error) { return []string{"n7"}, nil }}
	move(t, f.Store, "collides", "n8")
	x.indexers = same
	if got := podNames(t, f.Store, "/pods/", storage.ListOptions{Predicate: onNode("n7")}); len(got) != 4 {
		t.Errorf("found %v", got)
	}
}

// TestIndexOfOlderObjects opens a database that was written without the index.
func TestIndexOfOlderObjects(t *testing.T) {
	old := newFixture(t)
	for i := range 20 {
		move(t, old.Store, fmt.Sprintf("p%02d", i), fmt.Sprintf("n%d", i%10))
	}
	counter := &readCounter{Transformer: old.transformer}
	reopen := func() *Store {
		c := podConfig(old.db)
		c.Transformer = counter
		indexed(&c)
		s, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	want := []string{"p03", "p13"}
	find := func(s *Store, reads int64) {
		t.Helper()
		before := counter.reads.Load()
		if diff := cmp.Diff(want, podNames(t, s, "/pods/", storage.ListOptions{Predicate: onNode("n3")})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got := counter.reads.Load() - before; got != reads {
			t.Errorf("%d values were read, want %d", got, reads)
		}
	}
	s := reopen()
	find(s, 20)
	before := old.db.Snapshot().Revision()
	for i := range 20 {
		move(t, s, fmt.Sprintf("p%02d", i), fmt.Sprintf("n%d", i%10))
	}
	if got := old.db.Snapshot().Revision(); got != before+20 {
		t.Errorf("%d writes, want 20: an update that changes nothing must bring the tags up to date", got-before)
	}
	find(reopen(), 2)
}
