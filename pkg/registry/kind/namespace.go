package kind

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/util/dryrun"
)

// NamespaceGuard lets objects be created in namespaces.
type NamespaceGuard interface {
	// Enter returns when an object may be written to the namespace, until leave
	// is called. If it may not, returns the API error that says why.
	Enter(ctx context.Context, namespace string, dryRun bool) (leave func(), err error)
}

// inNamespace asks the guard before anything else of a create, as Kubernetes
// does. The write asks again: see guardedStorage.
func inNamespace(guard NamespaceGuard) genericregistry.BeginCreateFunc {
	return func(ctx context.Context, _ runtime.Object, options *metav1.CreateOptions) (genericregistry.FinishFunc, error) {
		leave, err := guard.Enter(ctx, request.NamespaceValue(ctx), options != nil && dryrun.IsDryRun(options.DryRun))
		if err != nil {
			return nil, err
		}
		leave()
		return func(context.Context, bool) {}, nil
	}
}

// guardedStorage holds the guard open while a new object is written, so that
// nothing is created in a namespace that was found empty and deleted meanwhile.
type guardedStorage struct {
	storage.Interface
	guard NamespaceGuard
}

// Create stores a new object.
func (s *guardedStorage) Create(ctx context.Context, key string, obj, out runtime.Object, ttl uint64) error {
	leave, err := s.guard.Enter(ctx, request.NamespaceValue(ctx), false)
	if err != nil {
		return err
	}
	defer leave()
	return s.Interface.Create(ctx, key, obj, out, ttl)
}

// GuaranteedUpdate passes updates on. One that may create, as server-side apply
// does, asks the guard if it comes to that.
func (s *guardedStorage) GuaranteedUpdate(
	ctx context.Context, key string, out runtime.Object, ignoreNotFound bool,
	preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc, cachedExisting runtime.Object,
) error {
	if !ignoreNotFound {
		return s.Interface.GuaranteedUpdate(ctx, key, out, ignoreNotFound, preconditions, tryUpdate, cachedExisting)
	}
	leave := func() {}
	defer func() { leave() }()
	try := func(existing runtime.Object, meta storage.ResponseMeta) (runtime.Object, *uint64, error) {
		leave() // that try lost a race; this one starts afresh
		leave = func() {}
		version, err := s.Versioner().ObjectResourceVersion(existing)
		if err != nil {
			return nil, nil, err
		}
		obj, ttl, err := tryUpdate(existing, meta)
		if err != nil || version != 0 {
			return obj, ttl, err
		}
		entered, err := s.guard.Enter(ctx, request.NamespaceValue(ctx), false)
		if err != nil {
			return nil, nil, err
		}
		leave = entered
		return obj, ttl, nil
	}
	return s.Interface.GuaranteedUpdate(ctx, key, out, ignoreNotFound, preconditions, try, cachedExisting)
}
