package bolt

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
)

func sharedPod() *sharedObject {
	return newSharedObject(&example.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: "a", ResourceVersion: "7", Labels: map[string]string{"k": "v"},
	}})
}

// TestEventIsEncodedOnce has many watches of one event ask for two forms of it.
func TestEventIsEncodedOnce(t *testing.T) {
	f := newFixture(t)
	const watches = 20
	open := make([]runtime.Object, watches)
	for i := range open {
		w := f.mustWatch(t, watchAll("1", false))
		if i == 0 {
			f.mustCreate(t, "ns", "a")
		}
		e, ok := <-w.ResultChan()
		if !ok {
			t.Fatal("the watch ended")
		}
		open[i] = e.Object
	}
	var mu sync.Mutex
	encoded := map[runtime.Identifier]int{}
	encoder := func(id runtime.Identifier) func(runtime.Object, io.Writer) error {
		return func(obj runtime.Object, w io.Writer) error {
			mu.Lock()
			encoded[id]++
			mu.Unlock()
			_, err := io.WriteString(w, string(id)+" "+obj.(*example.Pod).Name)
			return err
		}
	}
	var wg sync.WaitGroup
	for _, obj := range open {
		for _, id := range []runtime.Identifier{"json", "protobuf"} {
			wg.Go(func() {
				var got bytes.Buffer
				err := obj.(runtime.CacheableObject).CacheEncode(id, encoder(id), &got)
				if err != nil || got.String() != string(id)+" a" {
					t.Errorf("encoded as %q, %v", got.String(), err)
				}
			})
		}
	}
	wg.Wait()
	if encoded["json"] != 1 || encoded["protobuf"] != 1 {
		t.Errorf("encoded %v times, want each once", encoded)
	}
}

func TestSharedObjectNeverChanges(t *testing.T) {
	o := sharedPod()
	o.GetObject().(*example.Pod).Labels["k"] = "changed"
	m, err := meta.Accessor(o)
	if err != nil {
		t.Fatal(err)
	}
	m.SetName("changed")
	o.GetObjectKind().SetGroupVersionKind(example.SchemeGroupVersion.WithKind("Changed"))
	err = o.CacheEncode("changes", func(obj runtime.Object, _ io.Writer) error {
		obj.(*example.Pod).Labels["k"] = "changed"
		return nil
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	pod := o.GetObject().(*example.Pod)
	if pod.Name != "a" || pod.Labels["k"] != "v" || pod.Kind != "" {
		t.Errorf("it is now %+v", pod.ObjectMeta)
	}
	if rv, err := (storage.APIObjectVersioner{}).ObjectResourceVersion(o); rv != 7 || err != nil {
		t.Errorf("resource version %d, %v", rv, err)
	}
	if copied := o.DeepCopyObject().(*sharedObject); copied.obj == o.obj || len(copied.encodings) != 0 {
		t.Error("a copy shares something")
	}
}

func TestSharedObjectTellsWhyItIsNotEncoded(t *testing.T) {
	o, want := sharedPod(), errors.New("no such form")
	for range 2 {
		err := o.CacheEncode("id", func(runtime.Object, io.Writer) error { return want }, io.Discard)
		if !errors.Is(err, want) {
			t.Errorf("got %v", err)
		}
	}
}
