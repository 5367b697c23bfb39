package bolt

import (
	"cmp"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/value"
	flowcontrolrequest "k8s.io/apiserver/pkg/util/flowcontrol/request"
)

// Defaults of RESTOptionsConfig.
const (
	// DefaultPrefix is that of kube-apiserver, which tools for backups know.
	DefaultPrefix = "/registry"
	// coreGroup stands in keys for the core group, whose name is empty.
	coreGroup = "core"
	// DefaultDeleteCollectionWorkers is enough to fill a group commit without
	// crowding out other requests.
	DefaultDeleteCollectionWorkers = 8
	// DefaultCountMetricPollPeriod is that of kube-apiserver.
	DefaultCountMetricPollPeriod = time.Minute
)

// RESTOptionsConfig is what a RESTOptionsGetter is made from.
type RESTOptionsConfig struct {
	Backend
	// Codec encodes to the version that is stored and decodes to the internal
	// one. Required.
	Codec runtime.Codec
	// StorageVersion is the version that Codec encodes to, for discovery. Required.
	StorageVersion runtime.GroupVersioner
	// TransformerFor returns what encrypts a resource, nil for nothing. It may
	// be nil.
	TransformerFor func(schema.GroupResource) value.Transformer
	// Prefix is put before every key. Empty: DefaultPrefix.
	Prefix string
	// GarbageCollector says that somebody collects what has lost its owner and
	// takes the finalizers of foreground and orphaning deletion away, as the
	// cluster's controller manager does. Without one those ways of deletion
	// would never end, so objects are then deleted at once.
	GarbageCollector bool
	// DeleteCollectionWorkers is how many objects of a deletecollection are
	// deleted at once. 0: DefaultDeleteCollectionWorkers.
	DeleteCollectionWorkers int
	// CountMetricPollPeriod is how often objects are counted, for metrics and
	// for ObjectCountTracker. 0: DefaultCountMetricPollPeriod.
	CountMetricPollPeriod time.Duration
	// ObjectCountTracker is the server's, from which priority and fairness
	// knows what a list costs. It may be nil.
	ObjectCountTracker flowcontrolrequest.StorageObjectCountTracker
}

// RESTOptionsGetter makes the generic registry of every resource use one
// database. Objects of a namespaced resource are at
//
//	<prefix>/<group>/<resource>/<namespace>/<name>
//
// and those of other resources at the same without the namespace.
type RESTOptionsGetter struct {
	config    RESTOptionsConfig
	decorator generic.StorageDecorator
}

var _ generic.RESTOptionsGetter = (*RESTOptionsGetter)(nil)

// NewRESTOptionsGetter returns the options of a server whose RecommendedOptions
// have no Etcd.
func NewRESTOptionsGetter(c RESTOptionsConfig) (*RESTOptionsGetter, error) {
	if c.DB == nil || c.Codec == nil || c.StorageVersion == nil {
		return nil, errors.New("options of the registry need a database, a codec and a storage version")
	}
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	if c.DeleteCollectionWorkers <= 0 {
		c.DeleteCollectionWorkers = DefaultDeleteCollectionWorkers
	}
	if c.CountMetricPollPeriod <= 0 {
		c.CountMetricPollPeriod = DefaultCountMetricPollPeriod
	}
	return &RESTOptionsGetter{config: c, decorator: NewDecorator(c.Backend)}, nil
}

// GetRESTOptions implements generic.RESTOptionsGetter.
func (g *RESTOptionsGetter) GetRESTOptions(resource schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	config := storagebackend.NewDefaultConfig(g.config.Prefix, g.config.Codec)
	config.EncodeVersioner = g.config.StorageVersion
	config.CountMetricPollPeriod = g.config.CountMetricPollPeriod
	config.StorageObjectCountTracker = g.config.ObjectCountTracker
	if g.config.TransformerFor != nil {
		config.Transformer = g.config.TransformerFor(resource)
	}
	return generic.RESTOptions{
		StorageConfig:             config.ForResource(resource),
		Decorator:                 g.decorator,
		EnableGarbageCollection:   g.config.GarbageCollector,
		DeleteCollectionWorkers:   g.config.DeleteCollectionWorkers,
		ResourcePrefix:            cmp.Or(resource.Group, coreGroup) + "/" + resource.Resource,
		CountMetricPollPeriod:     g.config.CountMetricPollPeriod,
		StorageObjectCountTracker: g.config.ObjectCountTracker,
	}, nil
}
