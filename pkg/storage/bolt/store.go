package bolt

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/storage/kv"
)

// DefaultBookmarkPeriod is how often a watch that allows bookmarks gets one. A
// client that reconnects reads at most the events of this time again; shorter
// only costs messages.
const DefaultBookmarkPeriod = time.Minute

// Config is what a Store is made from.
type Config struct {
	// DB holds the objects. It must stay open until the Store is closed. Required.
	DB *kv.DB
	// Codec turns objects into the bytes that are stored, and back. Required.
	Codec runtime.Codec
	// Transformer encrypts values; the key is its authenticated data. Nil
	// stores them in clear, and refuses to read values that are encrypted.
	Transformer value.Transformer
	// NewFunc makes an empty object of the resource, for bookmarks. Required.
	NewFunc func() runtime.Object
	// GroupResource names the resource in errors.
	GroupResource schema.GroupResource
	// Prefix is put before every key, to keep what else is in DB apart.
	Prefix string
	// ResourcePrefix is what the keys passed to the Store begin with. It starts
	// with a slash. Required.
	ResourcePrefix string
	// Indexers find objects by the fields that lists are narrowed down by; a
	// predicate names them. May be nil.
	Indexers cache.Indexers
	// Expirer deletes what was stored with a TTL. Without one, a TTL is an error.
	Expirer *Expirer
	// Clock times bookmarks and TTLs. Nil: the real one.
	Clock clock.WithDelayedExecution
	// BookmarkPeriod is how often watches get bookmarks. 0: DefaultBookmarkPeriod.
	BookmarkPeriod time.Duration
}

// Store is the storage of one resource. All methods may be called
// concurrently. Errors are those of package storage where it has one for the
// case, and API status errors where the client can be told more; see apiError.
type Store struct {
	db             *kv.DB
	codec          objectCodec
	index          *index
	recent         *memo
	newFunc        func() runtime.Object
	groupResource  schema.GroupResource
	pathPrefix     string
	resourcePrefix string
	expirer        *Expirer
	clock          clock.WithDelayedExecution
	bookmarkPeriod time.Duration
	// reportCorrupt is set where objects that cannot be read may be deleted
	// unsafely: their errors must then tell them from other failures.
	reportCorrupt bool

	mu       sync.Mutex
	closed   bool
	sizes    bool
	watchers map[*watcher]struct{}
}

var _ storage.Interface = (*Store)(nil)

// New returns the store of one resource. It starts nothing; Close ends the
// watches that were made of it.
func New(c Config) (*Store, error) {
	if c.DB == nil || c.Codec == nil || c.NewFunc == nil {
		return nil, errors.New("storage needs a database, a codec and a constructor of objects")
	}
	if !strings.HasPrefix(c.ResourcePrefix, "/") || strings.Trim(c.ResourcePrefix, "/") == "" {
		return nil, fmt.Errorf("resource prefix %q: want a path that starts with a slash", c.ResourcePrefix)
	}
	if c.Transformer == nil {
		c.Transformer = identity.NewEncryptCheckTransformer()
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.BookmarkPeriod <= 0 {
		c.BookmarkPeriod = DefaultBookmarkPeriod
	}
	pathPrefix := withSlash(path.Join("/", c.Prefix))
	return &Store{
		db: c.DB,
		codec: objectCodec{
			codec:       c.Codec,
			transformer: c.Transformer,
			versioner:   storage.APIObjectVersioner{},
		},
		index:          newIndex(c.DB, pathPrefix+strings.TrimPrefix(withSlash(c.ResourcePrefix), "/"), c.Indexers),
		recent:         newMemo(memoEntries, memoBytes),
		newFunc:        c.NewFunc,
		groupResource:  c.GroupResource,
		pathPrefix:     pathPrefix,
		resourcePrefix: withSlash(c.ResourcePrefix),
		expirer:        c.Expirer,
		clock:          c.Clock,
		bookmarkPeriod: c.BookmarkPeriod,
		reportCorrupt:  utilfeature.DefaultFeatureGate.Enabled(features.AllowUnsafeMalformedObjectDeletion),
		watchers:       map[*watcher]struct{}{},
	}, nil
}

// Close ends every watch and joins its goroutine. Watches asked for later are
// refused; everything else goes on working, as the database is not ours to
// close. It may be called more than once.
func (s *Store) Close() {
	s.mu.Lock()
	s.closed = true
	open := make([]*watcher, 0, len(s.watchers))
	for w := range s.watchers {
		open = append(open, w)
	}
	s.mu.Unlock()
	for _, w := range open {
		w.Stop()
	}
}

// Versioner implements storage.Interface.
func (s *Store) Versioner() storage.Versioner { return s.codec.versioner }

// ReadinessCheck implements storage.Interface. It fails for good once the
// database has.
func (s *Store) ReadinessCheck() error {
	if err := s.db.Err(); err != nil {
		return fmt.Errorf("%w: %w", storage.ErrStorageNotReady, err)
	}
	return nil
}

// GetCurrentResourceVersion implements storage.Interface. Every write that was
// acknowledged before the call is at or below the revision returned.
func (s *Store) GetCurrentResourceVersion(context.Context) (uint64, error) {
	return uint64(s.db.Snapshot().Revision()), nil
}

// CompactRevision implements storage.Interface.
func (s *Store) CompactRevision() int64 { return s.db.Snapshot().CompactedRevision() }

// EnableResourceSizeEstimation implements storage.Interface. The sizes are in
// memory and are not estimated, so keys is not asked for.
func (s *Store) EnableResourceSizeEstimation(keys storage.KeysFunc) error {
	if keys == nil {
		return errors.New("KeysFunc cannot be nil")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sizes {
		return errors.New("resource size estimation is already enabled")
	}
	s.sizes = true
	return nil
}

// Stats implements storage.Interface.
func (s *Store) Stats(context.Context) (storage.Stats, error) {
	prefix, err := s.prepareKey(s.resourcePrefix, true)
	if err != nil {
		return storage.Stats{}, err
	}
	snap := s.db.Snapshot()
	stats := storage.Stats{ObjectCount: snap.Count(prefix)}
	s.mu.Lock()
	sizes := s.sizes
	s.mu.Unlock()
	if !sizes || stats.ObjectCount == 0 {
		return stats, nil
	}
	var total int64
	snap.Ascend(prefix, prefix, func(e kv.Entry) bool {
		total += int64(e.Size())
		return true
	})
	stats.EstimatedAverageObjectSizeBytes = total / stats.ObjectCount
	return stats, nil
}

// prepareKey returns the key in the database of the key that a caller of the
// Store uses. If it is not below the resource prefix, or tries to leave it,
// that is an error.
func (s *Store) prepareKey(key string, recursive bool) (string, error) {
	key, err := storage.PrepareKey(s.resourcePrefix, key, recursive)
	if err != nil {
		return "", err
	}
	return s.pathPrefix + strings.TrimPrefix(key, "/"), nil
}

func withSlash(p string) string { return strings.TrimRight(p, "/") + "/" }
