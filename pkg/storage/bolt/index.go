package bolt

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/tools/cache"

	"arl.io/arl/pkg/storage/kv"
)

// index finds objects by what the registry's indexers say of them. Every value
// of an index is a tag of the object's key in package kv, which keeps the tags
// exact at every revision. The empty value is none: many objects have it, and
// nobody asks for it. A tag is a hash, so two values may share one: what is
// found is selected again. As keys do, tags stand unencrypted in the files.
type index struct {
	names    []string
	indexers cache.Indexers
	// schema is a tag, not a searchable one, of every object that was written
	// with just these indexes.
	schema uint64
	// since is the revision from which on every object is known to have the
	// tag schema. Before it, or if it is 0, a search has to look at all objects.
	since int64
}

// newIndex returns the index of the objects with a prefix. Objects of an older
// server, which had other indexes, turn it off until a restart finds none; any
// update of such an object, also one that changes nothing, brings its tags up
// to date.
func newIndex(db *kv.DB, prefix string, indexers cache.Indexers) *index {
	if len(indexers) == 0 {
		return &index{}
	}
	x := &index{names: slices.Sorted(maps.Keys(indexers)), indexers: indexers}
	x.schema = tag(x.names...) &^ kv.Searchable
	snap := db.Snapshot()
	x.since = snap.Revision()
	snap.Ascend(prefix, prefix, func(e kv.Entry) bool {
		if !slices.Contains(e.Tags, x.schema) {
			x.since = 0
		}
		return x.since != 0
	})
	return x
}

// tag hashes strings, and where one ends. It is searchable.
func tag(parts ...string) uint64 {
	h := fnv.New64a()
	for _, part := range parts {
		// A hash does not fail to write.
		_, _ = h.Write([]byte(part))
		_, _ = h.Write([]byte{0})
	}
	return h.Sum64() | kv.Searchable
}

// tags returns those of an object.
func (x *index) tags(obj runtime.Object) ([]uint64, error) {
	if len(x.names) == 0 {
		return nil, nil
	}
	tags := make([]uint64, 0, len(x.names)+1)
	tags = append(tags, x.schema)
	for _, name := range x.names {
		values, err := x.indexers[name](obj)
		if err != nil {
			return nil, storage.NewInternalError(fmt.Errorf("index %s of %T: %w", name, obj, err))
		}
		for _, value := range values {
			if value == "" {
				continue
			}
			tags = append(tags, tag(name, value))
		}
	}
	slices.Sort(tags)
	return slices.Compact(tags), nil
}

// match returns the tag that everything which a predicate selects at revision
// rev has. If there is none, ok is false. Of several it is that of the index
// which the registry names first.
func (x *index) match(ctx context.Context, pred *storage.SelectionPredicate, rev int64) (t uint64, ok bool) {
	if x.since == 0 || rev < x.since {
		return 0, false
	}
	for _, m := range pred.MatcherIndex(ctx) {
		if _, indexed := x.indexers[m.IndexName]; indexed && m.Value != "" {
			return tag(m.IndexName, m.Value), true
		}
	}
	return 0, false
}
