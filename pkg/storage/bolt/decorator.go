package bolt

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/storage/kv"
)

// Backend is what the stores of all resources share.
type Backend struct {
	// DB holds the objects. It must be closed after the stores. Required.
	DB *kv.DB
	// Expirer and Clock are as in Config.
	Expirer *Expirer
	Clock   clock.WithDelayedExecution
	// Stores is entered every store that is made, for metrics. It may be nil.
	Stores *Stores
}

// NewDecorator returns what makes the generic registry keep its objects in b.
// The codec, the transformer, the prefix and the resource come from the
// configuration that the registry passes; the watch cache's functions are not
// needed. The destroy function ends the watches of the store, and may be
// called more than once.
func NewDecorator(b Backend) generic.StorageDecorator {
	return func(
		config *storagebackend.ConfigForResource,
		resourcePrefix string,
		_ func(obj runtime.Object) (string, error),
		newFunc func() runtime.Object,
		_ func() runtime.Object,
		_ storage.AttrFunc,
		_ storage.IndexerFuncs,
		indexers *cache.Indexers,
	) (storage.Interface, factory.DestroyFunc, error) {
		transformer := config.Transformer
		if transformer == nil {
			transformer = identity.NewEncryptCheckTransformer()
		}
		if utilfeature.DefaultFeatureGate.Enabled(features.AllowUnsafeMalformedObjectDeletion) {
			transformer = corruptMarker{transformer}
		}
		c := Config{
			DB:             b.DB,
			Codec:          config.Codec,
			Transformer:    transformer,
			NewFunc:        newFunc,
			GroupResource:  config.GroupResource,
			Prefix:         config.Prefix,
			ResourcePrefix: resourcePrefix,
			Expirer:        b.Expirer,
			Clock:          b.Clock,
		}
		if indexers != nil {
			c.Indexers = *indexers
		}
		s, err := New(c)
		if err != nil {
			return nil, nil, err
		}
		if utilfeature.DefaultFeatureGate.Enabled(features.SizeBasedListCostEstimate) {
			// Without it the metric of sizes would say that they cannot be had.
			if err := s.EnableResourceSizeEstimation(keysNotNeeded); err != nil {
				return nil, nil, err
			}
		}
		remove := b.Stores.add(s)
		return s, sync.OnceFunc(func() {
			remove()
			s.Close()
		}), nil
	}
}

// keysNotNeeded stands for the keys of a watch cache, which a Store does not need to
// know the sizes of objects.
func keysNotNeeded(context.Context) ([]string, error) { return nil, nil }
