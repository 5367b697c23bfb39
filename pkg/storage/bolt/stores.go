package bolt

import (
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Stores are the open stores of a server, for metrics. The zero value is empty
// and ready for use; it is safe for concurrent use.
type Stores struct {
	mu     sync.Mutex
	stores map[*Store]struct{}
}

// WatchStats describe the watches of one resource at one moment.
type WatchStats struct {
	// Resource is what is watched.
	Resource schema.GroupResource
	// Watches is how many there are.
	Watches int
	// Lag is how many revisions the watch that is furthest behind has not
	// handed on yet. A watch that keeps up is behind by the last commit at most.
	Lag int64
}

// WatchStats returns those of every resource that has a store, by name.
func (s *Stores) WatchStats() []WatchStats {
	s.mu.Lock()
	byResource := map[schema.GroupResource]WatchStats{}
	for store := range s.stores {
		stats := byResource[store.groupResource]
		watches, lag := store.watchStats()
		stats.Resource = store.groupResource
		stats.Watches += watches
		stats.Lag = max(stats.Lag, lag)
		byResource[store.groupResource] = stats
	}
	s.mu.Unlock()
	all := make([]WatchStats, 0, len(byResource))
	for _, stats := range byResource {
		all = append(all, stats)
	}
	slices.SortFunc(all, func(a, b WatchStats) int { return strings.Compare(a.Resource.String(), b.Resource.String()) })
	return all
}

// add enters a store until remove. Stores may be nil.
func (s *Stores) add(store *Store) (remove func()) {
	if s == nil {
		return func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stores == nil {
		s.stores = map[*Store]struct{}{}
	}
	s.stores[store] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.stores, store)
	}
}

// watchStats returns how many watches there are, and how many revisions the
// slowest is behind.
func (s *Store) watchStats() (watches int, lag int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	newest := s.db.Snapshot().Revision()
	for w := range s.watchers {
		// A watch from a revision in the future is ahead.
		lag = max(lag, newest-w.position.Load())
	}
	return len(s.watchers), lag
}
