package bolt

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/apitesting"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/storage/kv"
)

// podStrategy is the least that the generic registry asks for.
type podStrategy struct {
	runtime.ObjectTyper
	names.NameGenerator
}

func (podStrategy) NamespaceScoped() bool                                            { return true }
func (podStrategy) AllowCreateOnUpdate(context.Context) bool                         { return false }
func (podStrategy) AllowUnconditionalUpdate(context.Context) bool                    { return true }
func (podStrategy) PrepareForCreate(context.Context, runtime.Object)                 {}
func (podStrategy) PrepareForUpdate(context.Context, runtime.Object, runtime.Object) {}
func (podStrategy) Canonicalize(runtime.Object)                                      {}
func (podStrategy) WarningsOnCreate(context.Context, runtime.Object) []string        { return nil }
func (podStrategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}
func (podStrategy) Validate(context.Context, runtime.Object) field.ErrorList { return nil }
func (podStrategy) ValidateUpdate(context.Context, runtime.Object, runtime.Object) field.ErrorList {
	return nil
}

// newRegistry returns the generic registry of pods on db, wired as a server
// wires it.
func newRegistry(t *testing.T, db *kv.DB, transformer value.Transformer) *registry.Store {
	t.Helper()
	return newRegistryOn(t, Backend{DB: db}, transformer)
}

func newRegistryOn(t *testing.T, backend Backend, transformer value.Transformer) *registry.Store {
	t.Helper()
	options, err := NewRESTOptionsGetter(RESTOptionsConfig{
		Backend:          backend,
		Codec:            apitesting.TestCodec(codecs, examplev1.SchemeGroupVersion),
		StorageVersion:   examplev1.SchemeGroupVersion,
		TransformerFor:   func(schema.GroupResource) value.Transformer { return transformer },
		GarbageCollector: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	resource := schema.GroupResource{Group: "example.io", Resource: "pods"}
	strategy := podStrategy{scheme, names.SimpleNameGenerator}
	s := &registry.Store{
		NewFunc:                   newPod,
		NewListFunc:               func() runtime.Object { return &example.PodList{} },
		DefaultQualifiedResource:  resource,
		SingularQualifiedResource: schema.GroupResource{Group: "example.io", Resource: "pod"},
		CreateStrategy:            strategy,
		UpdateStrategy:            strategy,
		DeleteStrategy:            strategy,
		TableConvertor:            rest.NewDefaultTableConvertor(resource),
	}
	if err := s.CompleteWithOptions(&generic.StoreOptions{RESTOptions: options}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Destroy)
	return s
}

func namespaced(t *testing.T) context.Context {
	return request.WithNamespace(t.Context(), "ns")
}

func registryCreate(t *testing.T, s *registry.Store, pod *example.Pod) *example.Pod {
	t.Helper()
	obj, err := s.Create(namespaced(t), pod, rest.ValidateAllObjectFunc, &metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return obj.(*example.Pod)
}

func TestGenericRegistry(t *testing.T) {
	db := openDB(t, kv.Options{})
	s := newRegistry(t, db, nil)
	ctx := namespaced(t)
	if err := s.ReadinessCheck(); err != nil {
		t.Fatal(err)
	}
	w, err := s.Watch(ctx, &metainternalversion.ListOptions{ResourceVersion: "1", AllowWatchBookmarks: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()

	created := registryCreate(t, s, &example.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "ns"}})
	if _, found := db.Snapshot().Get("/registry/example.io/pods/ns/a"); !found {
		t.Error("the object is not stored where the documentation says")
	}
	again := &example.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "ns"}}
	_, err = s.Create(ctx, again, rest.ValidateAllObjectFunc, &metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		t.Errorf("a second create: %v", err)
	}

	stale := created.DeepCopy()
	created.Labels = map[string]string{"a": "b"}
	updated, _, err := s.Update(ctx, "a", rest.DefaultUpdatedObjectInfo(created), rest.ValidateAllObjectFunc,
		rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stale.Labels = map[string]string{"a": "c"}
	_, _, err = s.Update(ctx, "a", rest.DefaultUpdatedObjectInfo(stale), rest.ValidateAllObjectFunc,
		rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
	if !apierrors.IsConflict(err) {
		t.Errorf("an update from an old version: %v", err)
	}
	if _, gone, err := s.Delete(ctx, "a", rest.ValidateAllObjectFunc, &metav1.DeleteOptions{}); err != nil || !gone {
		t.Errorf("Delete: %t, %v", gone, err)
	}
	if _, err := s.Get(ctx, "a", &metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("Get of what was deleted: %v", err)
	}
	for _, want := range []watch.EventType{watch.Added, watch.Modified, watch.Deleted} {
		e := nextEvent(t, w)
		if e.Type != want {
			t.Errorf("got %s, want %s", e.Type, want)
		}
		if rv := updated.(*example.Pod).ResourceVersion; want == watch.Modified && e.Object.(*example.Pod).ResourceVersion != rv {
			t.Errorf("the event is at another version than the answer: %s", rv)
		}
	}
}

func TestDeleteCollection(t *testing.T) {
	s := newRegistry(t, openDB(t, kv.Options{}), nil)
	ctx := namespaced(t)
	const count = 60
	for i := range count {
		registryCreate(t, s, &example.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("pod-%d", i), Namespace: "ns"}})
	}
	obj, err := s.DeleteCollection(ctx, rest.ValidateAllObjectFunc, &metav1.DeleteOptions{}, &metainternalversion.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(obj.(*example.PodList).Items); n != count {
		t.Errorf("deleted %d, want %d", n, count)
	}
	list, err := s.List(ctx, &metainternalversion.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(list.(*example.PodList).Items); n != 0 {
		t.Errorf("%d are left", n)
	}
}

func TestFinalizersHoldDeletion(t *testing.T) {
	s := newRegistry(t, openDB(t, kv.Options{}), nil)
	ctx := namespaced(t)
	registryCreate(t, s, &example.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "ns"}})
	opts := &metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)}
	obj, gone, err := s.Delete(ctx, "a", rest.ValidateAllObjectFunc, opts)
	if err != nil || gone {
		t.Fatalf("foreground deletion: gone %t, %v", gone, err)
	}
	pod := obj.(*example.Pod)
	if pod.DeletionTimestamp == nil || len(pod.Finalizers) != 1 {
		t.Fatalf("got %v, want it marked for deletion and held", pod)
	}
	pod.Finalizers = nil
	_, _, err = s.Update(ctx, "a", rest.DefaultUpdatedObjectInfo(pod), rest.ValidateAllObjectFunc,
		rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, "a", &metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("without finalizers it is still there: %v", err)
	}
}

func TestForegroundDeletionEndsWithoutACollector(t *testing.T) {
	s := newRegistry(t, openDB(t, kv.Options{}), nil)
	s.EnableGarbageCollection = false
	for _, policy := range []metav1.DeletionPropagation{metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan} {
		registryCreate(t, s, &example.Pod{ObjectMeta: metav1.ObjectMeta{Name: string(policy), Namespace: "ns"}})
		opts := &metav1.DeleteOptions{PropagationPolicy: ptr.To(policy)}
		if _, gone, err := s.Delete(namespaced(t), string(policy), rest.ValidateAllObjectFunc, opts); err != nil || !gone {
			t.Errorf("%s: gone %t, %v", policy, gone, err)
		}
	}
}

func TestUnsafeDeletionOfCorruptObjects(t *testing.T) {
	allowUnsafeDeletion(t, true)
	db := openDB(t, kv.Options{})
	transformer := newSwitchTransformer()
	s := newRegistry(t, db, transformer)
	ctx := namespaced(t)
	for _, name := range []string{"bad", "good"} {
		registryCreate(t, s, &example.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns"}})
	}
	const key = "/registry/example.io/pods/ns/bad"
	entry, _ := db.Snapshot().Get(key)
	if _, err := db.Apply(ctx, kv.Op{Key: key, Value: []byte("bits"), Expect: entry.ModRev}); err != nil {
		t.Fatal(err)
	}
	unsafeOptions := &metav1.DeleteOptions{IgnoreStoreReadErrorWithClusterBreakingPotential: ptr.To(true)}
	deleter := s.GetCorruptObjDeleter()

	_, err := s.List(ctx, &metainternalversion.ListOptions{})
	if apierrors.ReasonForError(err) != metav1.StatusReasonStoreReadError || !strings.Contains(err.Error(), key) {
		t.Errorf("List: %v", err)
	}
	if _, _, err := s.Delete(ctx, "bad", rest.ValidateAllObjectFunc, &metav1.DeleteOptions{}); !apierrors.IsInternalError(err) {
		t.Errorf("Delete: %v", err)
	}
	if _, _, err := deleter.Delete(ctx, "good", rest.ValidateAllObjectFunc, unsafeOptions); err == nil {
		t.Error("an object that can be read was deleted unsafely")
	}
	if _, _, err := deleter.Delete(ctx, "bad", rest.ValidateAllObjectFunc, unsafeOptions); err != nil {
		t.Errorf("unsafe deletion: %v", err)
	}
	if _, err := s.List(ctx, &metainternalversion.ListOptions{}); err != nil {
		t.Errorf("List afterwards: %v", err)
	}
}

func TestRESTOptionsRefuse(t *testing.T) {
	if _, err := NewRESTOptionsGetter(RESTOptionsConfig{}); err == nil {
		t.Error("accepted a configuration without anything")
	}
	options, err := NewRESTOptionsGetter(RESTOptionsConfig{
		Backend:        Backend{DB: openDB(t, kv.Options{})},
		Codec:          apitesting.TestCodec(codecs, examplev1.SchemeGroupVersion),
		StorageVersion: examplev1.SchemeGroupVersion,
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := options.GetRESTOptions(schema.GroupResource{Group: "arl.io", Resource: "tasks"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.ResourcePrefix != "arl.io/tasks" || got.EnableGarbageCollection || got.DeleteCollectionWorkers < 2 || got.CountMetricPollPeriod <= 0 {
		t.Errorf("got %+v", got)
	}
	if _, _, err := got.Decorator(got.StorageConfig, "", nil, newPod, nil, nil, nil, nil); err == nil {
		t.Error("accepted a store without a resource prefix")
	}
}
