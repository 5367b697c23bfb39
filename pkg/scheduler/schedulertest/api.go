// Package schedulertest lets tests run a whole Scheduler: against an API in
// memory that has the conflicts, preconditions and watches of the real one, and
// a runtime whose pods, and the agents in them, do what the test says.
//
// It is used by tests only. Read harness.go first.
package schedulertest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/google/uuid"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/generated/clientset/versioned/fake"
)

// Reserver is asked for a pod when a sandbox is created, as the registry asks.
type Reserver interface {
	Reserve(ctx context.Context, sandbox *v1alpha1.Sandbox) (*v1alpha1.SandboxStatus, func(stored bool))
}

// Request is what a Fault is asked about.
type Request struct {
	// Verb is create, update or delete; Subresource is "status" or empty.
	Verb, Resource, Subresource string
	// Object is the one written, nil for a delete.
	Object runtime.Object
}

// API is an API server in memory, behind a clientset.
type API struct {
	*fake.Clientset
	clock clock.PassiveClock

	mu       sync.Mutex
	changed  *sync.Cond
	revision uint64
	kinds    map[string]*store
	reserver Reserver
	fault    func(Request) error
	paused   map[string]bool
	writes   map[string]int
}

// store holds the objects of one resource and all that ever happened to them.
type store struct {
	objects map[types.NamespacedName]runtime.Object
	log     []logged
}

type logged struct {
	revision uint64
	event    watch.Event
}

// NewAPI returns an empty API.
func NewAPI(clock clock.PassiveClock) *API {
	a := &API{
		Clientset: fake.NewSimpleClientset(),
		clock:     clock,
		kinds:     map[string]*store{},
		paused:    map[string]bool{},
		writes:    map[string]int{},
	}
	a.changed = sync.NewCond(&a.mu)
	for _, resource := range []string{"warmpools", "sandboxes", "tasks"} {
		a.kinds[resource] = &store{objects: map[types.NamespacedName]runtime.Object{}}
	}
	a.PrependReactor("*", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		obj, err := a.react(action)
		return true, obj, err
	})
	a.PrependWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		w, err := a.watch(action.(clienttesting.WatchActionImpl))
		return true, w, err
	})
	return a
}

// SetReserver says who is asked for pods of new sandboxes; nil for nobody.
func (a *API) SetReserver(r Reserver) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reserver = r
}

// SetFault has writes fail with what the function returns, unless it is nil. The
// function must not use the clientset, which is locked.
func (a *API) SetFault(fault func(Request) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault = fault
}

// Pause holds back the watch events of a resource until Resume.
func (a *API) Pause(resource string) { a.setPaused(resource, true) }

// Resume lets the watch events of a resource go on.
func (a *API) Resume(resource string) { a.setPaused(resource, false) }

func (a *API) setPaused(resource string, paused bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.paused[resource] = paused
	a.changed.Broadcast()
}

// Remove takes an object away, as another client's delete would. Unlike the
// clientset it may be used by a fault.
func (a *API) Remove(resource, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if obj, ok := a.kinds[resource].objects[types.NamespacedName{Namespace: Namespace, Name: name}]; ok {
		a.removeLocked(resource, obj.DeepCopyObject())
	}
}

// Writes returns how many writes of a kind such as "update tasks/status" there were.
func (a *API) Writes(kind string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.writes[kind]
}

// History returns every state an object of the name has had.
func (a *API) History(resource, name string) []runtime.Object {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []runtime.Object
	for _, each := range a.kinds[resource].log {
		if metaOf(each.event.Object).GetName() == name {
			all = append(all, each.event.Object.DeepCopyObject())
		}
	}
	return all
}

func metaOf(obj runtime.Object) metav1.Object { return obj.(metav1.Object) }

func keyOf(obj runtime.Object) types.NamespacedName {
	m := metaOf(obj)
	return types.NamespacedName{Namespace: m.GetNamespace(), Name: m.GetName()}
}

func groupResource(resource string) schema.GroupResource {
	return v1alpha1.SchemeGroupVersion.WithResource(resource).GroupResource()
}

// react answers a request of the clientset.
func (a *API) react(action clienttesting.Action) (runtime.Object, error) {
	switch action := action.(type) {
	case clienttesting.CreateActionImpl:
		return a.create(action)
	case clienttesting.UpdateActionImpl:
		return a.update(action)
	case clienttesting.DeleteActionImpl:
		return nil, a.delete(action)
	case clienttesting.GetActionImpl:
		return a.get(action)
	case clienttesting.ListActionImpl:
		return a.list(action)
	default:
		return nil, fmt.Errorf("%s of %s: not served here", action.GetVerb(), action.GetResource().Resource)
	}
}

// faultyLocked counts a write and returns the fault it meets. It is called with the
// lock held, and the fault function without it.
func (a *API) faultyLocked(request Request) error {
	kind := request.Verb + " " + request.Resource
	if request.Subresource != "" {
		kind += "/" + request.Subresource
	}
	a.writes[kind]++
	fault := a.fault
	if fault == nil {
		return nil
	}
	a.mu.Unlock()
	defer a.mu.Lock()
	return fault(request)
}

func (a *API) create(action clienttesting.CreateActionImpl) (runtime.Object, error) {
	obj := action.Object.DeepCopyObject()
	resource := action.Resource.Resource
	m := metaOf(obj)
	m.SetNamespace(action.Namespace)
	m.SetUID(types.UID(uuid.NewString()))
	m.SetCreationTimestamp(metav1.NewTime(a.clock.Now().Truncate(1e9)))
	m.SetGeneration(1)

	a.mu.Lock()
	defer a.mu.Unlock()
	done := a.reserveLocked(obj)
	err := a.faultyLocked(Request{"create", resource, "", obj})
	if _, taken := a.kinds[resource].objects[keyOf(obj)]; taken && err == nil {
		err = apierrors.NewAlreadyExists(groupResource(resource), m.GetName())
	}
	if err != nil {
		done(false)
		return nil, err
	}
	a.storeLocked(resource, watch.Added, obj)
	done(true)
	return obj.DeepCopyObject(), nil
}

// reserveLocked asks for a pod for a new sandbox, and gives every kind the
// status, and pools the finalizer, that its registry gives it.
func (a *API) reserveLocked(obj runtime.Object) (done func(stored bool)) {
	switch obj := obj.(type) {
	case *v1alpha1.Sandbox:
		obj.Status = v1alpha1.SandboxStatus{Phase: v1alpha1.SandboxPending}
		if a.reserver == nil {
			break
		}
		if status, done := a.reserver.Reserve(context.Background(), obj); status != nil {
			obj.Status = *status
			return done
		}
	case *v1alpha1.Task:
		obj.Status = v1alpha1.TaskStatus{State: v1alpha1.TaskPending}
	case *v1alpha1.WarmPool:
		obj.Status = v1alpha1.WarmPoolStatus{Phase: v1alpha1.WarmPoolPending}
		obj.Finalizers = append(obj.Finalizers, v1alpha1.FinalizerSandboxesInUse)
	}
	return func(bool) {}
}

func (a *API) update(action clienttesting.UpdateActionImpl) (runtime.Object, error) {
	obj := action.Object.DeepCopyObject()
	resource := action.Resource.Resource
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.faultyLocked(Request{"update", resource, action.Subresource, obj}); err != nil {
		return nil, err
	}
	m := metaOf(obj)
	old, ok := a.kinds[resource].objects[keyOf(obj)]
	if !ok || m.GetUID() != "" && m.GetUID() != metaOf(old).GetUID() {
		return nil, apierrors.NewNotFound(groupResource(resource), m.GetName())
	}
	if version := m.GetResourceVersion(); version != "" && version != metaOf(old).GetResourceVersion() {
		return nil, apierrors.NewConflict(groupResource(resource), m.GetName(), fmt.Errorf("the object has been modified"))
	}
	merged := merge(old, obj, action.Subresource == "status")
	if metaOf(merged).GetDeletionTimestamp() != nil && len(metaOf(merged).GetFinalizers()) == 0 {
		a.removeLocked(resource, merged)
		return merged.DeepCopyObject(), nil
	}
	a.storeLocked(resource, watch.Modified, merged)
	return merged.DeepCopyObject(), nil
}

// merge keeps what a writer of the spec, or of the status, may not change.
func merge(old, changed runtime.Object, status bool) runtime.Object {
	merged := changed.DeepCopyObject()
	if status {
		merged = old.DeepCopyObject()
	}
	switch merged := merged.(type) {
	case *v1alpha1.WarmPool:
		if status {
			merged.Status = changed.(*v1alpha1.WarmPool).Status
		} else {
			merged.Status = old.(*v1alpha1.WarmPool).Status
			count(&merged.ObjectMeta, metaOf(old), merged.Spec, old.(*v1alpha1.WarmPool).Spec)
		}
	case *v1alpha1.Sandbox:
		if status {
			merged.Status = changed.(*v1alpha1.Sandbox).Status
		} else {
			merged.Status = old.(*v1alpha1.Sandbox).Status
			count(&merged.ObjectMeta, metaOf(old), merged.Spec, old.(*v1alpha1.Sandbox).Spec)
		}
	case *v1alpha1.Task:
		if status {
			merged.Status = changed.(*v1alpha1.Task).Status
		} else {
			merged.Status = old.(*v1alpha1.Task).Status
			count(&merged.ObjectMeta, metaOf(old), merged.Spec, old.(*v1alpha1.Task).Spec)
		}
	}
	return merged
}

// count keeps an object's identity and counts a generation if the spec changed.
func count(m *metav1.ObjectMeta, old metav1.Object, spec, was any) {
	m.UID, m.CreationTimestamp, m.DeletionTimestamp = old.GetUID(), old.GetCreationTimestamp(), old.GetDeletionTimestamp()
	m.Generation = old.GetGeneration()
	if !apiequality.Semantic.DeepEqual(spec, was) {
		m.Generation++
	}
}

func (a *API) delete(action clienttesting.DeleteActionImpl) error {
	resource := action.Resource.Resource
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.faultyLocked(Request{"delete", resource, "", nil}); err != nil {
		return err
	}
	old, ok := a.kinds[resource].objects[types.NamespacedName{Namespace: action.Namespace, Name: action.Name}]
	if !ok {
		return apierrors.NewNotFound(groupResource(resource), action.Name)
	}
	if p := action.DeleteOptions.Preconditions; p != nil {
		m := metaOf(old)
		if p.UID != nil && *p.UID != m.GetUID() || p.ResourceVersion != nil && *p.ResourceVersion != m.GetResourceVersion() {
			return apierrors.NewConflict(groupResource(resource), action.Name, fmt.Errorf("the precondition does not hold"))
		}
	}
	gone := old.DeepCopyObject()
	if len(metaOf(gone).GetFinalizers()) > 0 {
		now := metav1.NewTime(a.clock.Now())
		metaOf(gone).SetDeletionTimestamp(&now)
		a.storeLocked(resource, watch.Modified, gone)
		return nil
	}
	a.removeLocked(resource, gone)
	return nil
}

func (a *API) get(action clienttesting.GetActionImpl) (runtime.Object, error) {
	resource := action.Resource.Resource
	a.mu.Lock()
	defer a.mu.Unlock()
	obj, ok := a.kinds[resource].objects[types.NamespacedName{Namespace: action.Namespace, Name: action.Name}]
	if !ok {
		return nil, apierrors.NewNotFound(groupResource(resource), action.Name)
	}
	return obj.DeepCopyObject(), nil
}

func (a *API) list(action clienttesting.ListActionImpl) (runtime.Object, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	version := metav1.ListMeta{ResourceVersion: strconv.FormatUint(a.revision, 10)}
	pools, sandboxes, tasks := &v1alpha1.WarmPoolList{ListMeta: version}, &v1alpha1.SandboxList{ListMeta: version}, &v1alpha1.TaskList{ListMeta: version}
	for key, obj := range a.kinds[action.Resource.Resource].objects {
		if action.Namespace != "" && action.Namespace != key.Namespace {
			continue
		}
		switch obj := obj.(type) {
		case *v1alpha1.WarmPool:
			pools.Items = append(pools.Items, *obj.DeepCopy())
		case *v1alpha1.Sandbox:
			sandboxes.Items = append(sandboxes.Items, *obj.DeepCopy())
		case *v1alpha1.Task:
			tasks.Items = append(tasks.Items, *obj.DeepCopy())
		}
	}
	switch action.Resource.Resource {
	case "warmpools":
		return pools, nil
	case "sandboxes":
		return sandboxes, nil
	default:
		return tasks, nil
	}
}

// storeLocked gives an object the next revision and stores it.
func (a *API) storeLocked(resource string, event watch.EventType, obj runtime.Object) {
	a.revision++
	metaOf(obj).SetResourceVersion(strconv.FormatUint(a.revision, 10))
	a.kinds[resource].objects[keyOf(obj)] = obj
	a.logLocked(resource, event, obj)
}

func (a *API) removeLocked(resource string, obj runtime.Object) {
	a.revision++
	metaOf(obj).SetResourceVersion(strconv.FormatUint(a.revision, 10))
	delete(a.kinds[resource].objects, keyOf(obj))
	a.logLocked(resource, watch.Deleted, obj)
}

func (a *API) logLocked(resource string, event watch.EventType, obj runtime.Object) {
	s := a.kinds[resource]
	s.log = append(s.log, logged{a.revision, watch.Event{Type: event, Object: obj.DeepCopyObject()}})
	a.changed.Broadcast()
}

// watch follows a resource from the revision given.
func (a *API) watch(action clienttesting.WatchActionImpl) (watch.Interface, error) {
	from, err := strconv.ParseUint(action.ListOptions.ResourceVersion, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("watch from resource version %q: %w", action.ListOptions.ResourceVersion, err)
	}
	w := &watcher{api: a, resource: action.Resource.Resource, results: make(chan watch.Event), stopped: make(chan struct{})}
	a.mu.Lock()
	log := a.kinds[w.resource].log
	w.next, _ = slices.BinarySearchFunc(log, from+1, func(l logged, revision uint64) int {
		return int(l.revision) - int(revision)
	})
	a.mu.Unlock()
	go w.run()
	return w, nil
}

// watcher is one watch. Its goroutine ends with Stop.
type watcher struct {
	api      *API
	resource string
	next     int
	results  chan watch.Event
	once     sync.Once
	stopped  chan struct{}
}

// ResultChan returns the events.
func (w *watcher) ResultChan() <-chan watch.Event { return w.results }

// Stop ends the watch.
func (w *watcher) Stop() {
	w.once.Do(func() {
		w.api.mu.Lock()
		defer w.api.mu.Unlock()
		close(w.stopped)
		w.api.changed.Broadcast()
	})
}

func (w *watcher) run() {
	defer close(w.results)
	for {
		event, ok := w.take()
		if !ok {
			return
		}
		select {
		case w.results <- event:
		case <-w.stopped:
			return
		}
	}
}

// take waits for the next event, and returns false once the watch is stopped.
func (w *watcher) take() (watch.Event, bool) {
	a := w.api
	a.mu.Lock()
	defer a.mu.Unlock()
	for {
		select {
		case <-w.stopped:
			return watch.Event{}, false
		default:
		}
		if log := a.kinds[w.resource].log; w.next < len(log) && !a.paused[w.resource] {
			event := log[w.next].event
			w.next++
			return watch.Event{Type: event.Type, Object: event.Object.DeepCopyObject()}, true
		}
		a.changed.Wait()
	}
}
