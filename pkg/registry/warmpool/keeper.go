package warmpool

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/registry/kind"
)

// Keeper knows which pools have pods in use. The scheduler implements it. It is called on the
// goroutines of requests and must not wait for anything.
type Keeper interface {
	// Retire is called before a pool is deleted. If a sandbox uses a pod of the pool, or that is not
	// known, it returns false: the pool then stays, as being deleted, until the scheduler removes its
	// finalizer. Otherwise no pod of the pool is given out from then on, the UID is that of the pool,
	// and restore is to be called if the pool was not deleted after all.
	Retire(pool types.NamespacedName) (uid types.UID, restore func(), ok bool)
}

// REST serves pools. One that no sandbox uses is deleted at once, in one write, which is
// possible on a full disk, too.
type REST struct {
	*kind.REST
	keeper Keeper
}

var _ rest.StandardStorage = (*REST)(nil)

// Delete deletes a pool, or marks it as being deleted.
func (r *REST) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	if r.keeper == nil || options != nil && len(options.DryRun) > 0 {
		return r.REST.Delete(ctx, name, validate, options)
	}
	uid, restore, unused := r.keeper.Retire(types.NamespacedName{Namespace: request.NamespaceValue(ctx), Name: name})
	if !unused {
		// The finalizer keeps it.
		return r.REST.Delete(ctx, name, validate, options)
	}
	obj, deleted, err := r.REST.Delete(context.WithValue(ctx, retiredKey{}, uid), name, validate, options)
	if err != nil || !deleted {
		restore()
	}
	return obj, deleted, err
}

// retiredKey is the key of the UID, in the context of a deletion, of a pool that was retired.
type retiredKey struct{}

// deletingStorage shows a pool to its deletion without our finalizer, if the pool was retired for it.
type deletingStorage struct{ storage.Interface }

// Get reads a pool.
func (s deletingStorage) Get(ctx context.Context, key string, options storage.GetOptions, out runtime.Object) error {
	err := s.Interface.Get(ctx, key, options, out)
	if pool, ok := out.(*arl.WarmPool); ok && err == nil {
		release(ctx, pool)
	}
	return err
}

// GuaranteedUpdate is what a deletion of an object with finalizers begins with.
func (s deletingStorage) GuaranteedUpdate(
	ctx context.Context, key string, out runtime.Object, ignoreNotFound bool,
	preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc, cachedExisting runtime.Object,
) error {
	try := func(existing runtime.Object, meta storage.ResponseMeta) (runtime.Object, *uint64, error) {
		if pool, ok := existing.(*arl.WarmPool); ok {
			release(ctx, pool)
		}
		return tryUpdate(existing, meta)
	}
	return s.Interface.GuaranteedUpdate(ctx, key, out, ignoreNotFound, preconditions, try, cachedExisting)
}

// release takes our finalizer off the pool that ctx deletes, unless others keep it anyway.
func release(ctx context.Context, pool *arl.WarmPool) {
	uid, ok := ctx.Value(retiredKey{}).(types.UID)
	if ok && uid == pool.UID && slices.Equal(pool.Finalizers, []string{arl.FinalizerSandboxesInUse}) {
		pool.Finalizers = nil
	}
}
