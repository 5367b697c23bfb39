package namespace

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerr "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/util/dryrun"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/registry/kind"
)

// resource is what errors call the kind.
var resource = corev1.Resource("namespaces")

// undeletable are the namespaces that are always there.
var undeletable = []string{corev1.NamespaceDefault}

// REST serves namespaces.
type REST struct {
	store *genericregistry.Store
	clock clock.PassiveClock
	// creating is held for reading while an object is created in a namespace, and
	// for writing while one is marked Terminating: nothing is created in it afterwards.
	creating sync.RWMutex
	// begun has an entry when a namespace was marked Terminating.
	begun chan struct{}
}

var (
	_ rest.Getter               = (*REST)(nil)
	_ rest.Lister               = (*REST)(nil)
	_ rest.Watcher              = (*REST)(nil)
	_ rest.CreaterUpdater       = (*REST)(nil)
	_ rest.GracefulDeleter      = (*REST)(nil)
	_ rest.Scoper               = (*REST)(nil)
	_ rest.ShortNamesProvider   = (*REST)(nil)
	_ rest.SingularNameProvider = (*REST)(nil)
)

// New makes the storage of namespaces.
func New(options generic.RESTOptionsGetter, clk clock.PassiveClock) (*REST, error) {
	if clk == nil {
		clk = clock.RealClock{}
	}
	main := newStrategy()
	store := &genericregistry.Store{
		NewFunc:                   func() runtime.Object { return &corev1.Namespace{} },
		NewListFunc:               func() runtime.Object { return &corev1.NamespaceList{} },
		PredicateFunc:             predicate,
		DefaultQualifiedResource:  resource,
		SingularQualifiedResource: corev1.Resource("namespace"),
		CreateStrategy:            main,
		UpdateStrategy:            main,
		DeleteStrategy:            main,
		ShouldDeleteDuringUpdate:  goesDuringUpdate,
		TableConvertor: kind.NewTable(clk, kind.Column[*corev1.Namespace]{
			Name: "Status", Description: "Active, or Terminating while it is emptied and deleted.",
			Cell: func(ns *corev1.Namespace, _ time.Time) any { return string(ns.Status.Phase) },
		}),
	}
	if err := store.CompleteWithOptions(&generic.StoreOptions{RESTOptions: options, AttrFunc: attributes}); err != nil {
		return nil, fmt.Errorf("set up the storage of namespaces: %w", err)
	}
	return &REST{store: store, clock: clk, begun: make(chan struct{}, 1)}, nil
}

func attributes(obj runtime.Object) (labels.Set, fields.Set, error) {
	ns, ok := obj.(*corev1.Namespace)
	if !ok {
		return nil, nil, fmt.Errorf("%T is no namespace", obj)
	}
	return ns.Labels, fields.Set{"metadata.name": ns.Name, "status.phase": string(ns.Status.Phase)}, nil
}

func predicate(label labels.Selector, field fields.Selector) storage.SelectionPredicate {
	return storage.SelectionPredicate{Label: label, Field: field, GetAttrs: attributes}
}

// Delete marks a namespace Terminating. It is gone when everything in it is, and
// Finish was called. One that must not be deleted gets Forbidden.
func (r *REST) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	for _, kept := range undeletable {
		if name == kept {
			return nil, false, apierrors.NewForbidden(resource, name, errors.New(
				"this namespace may not be deleted; delete what is in it: kubectl delete tasks,sandboxes,warmpools --all -n "+name))
		}
	}
	preconditions := &storage.Preconditions{}
	if options != nil && options.Preconditions != nil {
		preconditions.UID, preconditions.ResourceVersion = options.Preconditions.UID, options.Preconditions.ResourceVersion
	}
	r.creating.Lock()
	ns, err := r.change(ctx, name, preconditions, options != nil && dryrun.IsDryRun(options.DryRun), func(ns *corev1.Namespace) error {
		if validate != nil {
			if err := validate(ctx, ns); err != nil {
				return err
			}
		}
		if ns.DeletionTimestamp == nil {
			ns.DeletionTimestamp = ptr.To(metav1.NewTime(r.clock.Now()))
			ns.DeletionGracePeriodSeconds = ptr.To[int64](0)
		}
		ns.Status.Phase = corev1.NamespaceTerminating
		return nil
	})
	r.creating.Unlock()
	if err != nil {
		return nil, false, err
	}
	select {
	case r.begun <- struct{}{}:
	default:
	}
	return ns, false, nil
}

// change writes what change makes of a namespace, past the strategies.
func (r *REST) change(ctx context.Context, name string, preconditions *storage.Preconditions, dryRun bool, change func(*corev1.Namespace) error) (*corev1.Namespace, error) {
	key, err := r.store.KeyFunc(ctx, name)
	if err != nil {
		return nil, err
	}
	out := &corev1.Namespace{}
	err = r.store.Storage.GuaranteedUpdate(ctx, key, out, false, preconditions, storage.SimpleUpdate(func(existing runtime.Object) (runtime.Object, error) {
		ns, ok := existing.(*corev1.Namespace)
		if !ok {
			return nil, fmt.Errorf("%T is no namespace", existing)
		}
		return ns, change(ns)
	}), dryRun, nil)
	if err != nil {
		err = storeerr.InterpretGetError(err, resource, name)
		return nil, storeerr.InterpretUpdateError(err, resource, name)
	}
	return out, nil
}

// Begun has an entry after a namespace was marked Terminating.
func (r *REST) Begun() <-chan struct{} { return r.begun }

// Terminating returns the namespaces that are being deleted.
func (r *REST) Terminating(ctx context.Context) ([]corev1.Namespace, error) {
	obj, err := r.store.List(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	list, ok := obj.(*corev1.NamespaceList)
	if !ok {
		return nil, fmt.Errorf("list namespaces: got %T", obj)
	}
	var found []corev1.Namespace
	for i := range list.Items {
		if terminating(&list.Items[i]) {
			found = append(found, list.Items[i])
		}
	}
	return found, nil
}

// Remaining writes down what keeps a namespace from going. It writes nothing if
// the status says so already.
func (r *REST) Remaining(ctx context.Context, ns *corev1.Namespace, message string) error {
	for _, c := range ns.Status.Conditions {
		if c.Type == corev1.NamespaceContentRemaining && c.Message == message {
			return nil
		}
	}
	_, err := r.change(ctx, ns.Name, storage.NewUIDPreconditions(string(ns.UID)), false, func(ns *corev1.Namespace) error {
		ns.Status.Conditions = []corev1.NamespaceCondition{{
			Type: corev1.NamespaceContentRemaining, Status: corev1.ConditionTrue, Reason: "SomeResourcesRemain",
			Message: message, LastTransitionTime: metav1.NewTime(r.clock.Now()),
		}}
		return nil
	})
	return err
}

// Finish deletes a namespace that was emptied, unless it has finalizers of users:
// it then goes when they are taken away.
func (r *REST) Finish(ctx context.Context, ns *corev1.Namespace) error {
	same := storage.NewUIDPreconditions(string(ns.UID))
	_, err := r.change(ctx, ns.Name, same, false, func(ns *corev1.Namespace) error {
		ns.Spec.Finalizers = nil
		return nil
	})
	if err == nil {
		_, _, err = r.store.Delete(ctx, ns.Name, rest.ValidateAllObjectFunc, &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &ns.UID}})
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// Ensure creates those of the namespaces that do not exist.
func (r *REST) Ensure(ctx context.Context, names ...string) error {
	// The request may be one in a namespace; what is created is in none.
	ctx = request.WithNamespace(ctx, metav1.NamespaceNone)
	var errs []error
	for _, name := range names {
		// Looked for first: on a full disk what is missing cannot be created.
		if _, err := r.store.Get(ctx, name, &metav1.GetOptions{}); err == nil {
			continue
		}
		_, err := r.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, rest.ValidateAllObjectFunc, &metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			errs = append(errs, fmt.Errorf("create namespace %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// Labels returns the labels of a namespace, and none if there is no such namespace.
func (r *REST) Labels(ctx context.Context, name string) (map[string]string, error) {
	obj, err := r.store.Get(request.WithNamespace(ctx, metav1.NamespaceNone), name, &metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get namespace %s: %w", name, err)
	}
	ns, ok := obj.(*corev1.Namespace)
	if !ok {
		return nil, fmt.Errorf("get namespace %s: got %T", name, obj)
	}
	return ns.Labels, nil
}
