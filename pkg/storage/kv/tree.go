package kv

import (
	"cmp"
	"slices"
	"strings"

	"github.com/google/btree"
)

// treeDegree trades the depth of the tree for the bytes copied when a commit
// changes a node that a published root shares.
const treeDegree = 16

// tree is the keys of one revision and the index of their tags. It is
// copy-on-write: a clone costs nothing, and what is changed later in one of the
// two is not seen in the other.
type tree struct {
	keys *btree.BTreeG[*Entry]
	// tags holds every searchable tag of every key, so the keys that share a tag
	// are neighbours. It names keys rather than entries: a write that leaves the
	// tags of its key alone does not touch it.
	tags *btree.BTreeG[tagged]
}

// tagged says that a key has a tag.
type tagged struct {
	tag uint64
	key string
}

func newTree() *tree {
	return &tree{
		keys: btree.NewG(treeDegree, func(a, b *Entry) bool { return a.Key < b.Key }),
		tags: btree.NewG(treeDegree, func(a, b tagged) bool {
			if a.tag != b.tag {
				return a.tag < b.tag
			}
			return a.key < b.key
		}),
	}
}

func (t *tree) clone() *tree { return &tree{keys: t.keys.Clone(), tags: t.tags.Clone()} }

func (t *tree) len() int { return t.keys.Len() }

func (t *tree) get(key string) (*Entry, bool) { return t.keys.Get(&Entry{Key: key}) }

// replace puts cur where prev is. Either may be nil, for nothing; if neither
// is, they have the same key.
func (t *tree) replace(prev, cur *Entry) {
	switch {
	case cur != nil:
		t.keys.ReplaceOrInsert(cur)
	case prev != nil:
		t.keys.Delete(prev)
	}
	var before, after []uint64
	if prev != nil {
		before = prev.Tags
	}
	if cur != nil {
		after = cur.Tags
	}
	if slices.Equal(before, after) {
		return
	}
	for _, tag := range before {
		if tag&Searchable != 0 && !hasTag(after, tag) {
			t.tags.Delete(tagged{tag, prev.Key})
		}
	}
	for _, tag := range after {
		if tag&Searchable != 0 && !hasTag(before, tag) {
			t.tags.ReplaceOrInsert(tagged{tag, cur.Key})
		}
	}
}

func hasTag(tags []uint64, tag uint64) bool {
	_, found := slices.BinarySearchFunc(tags, tag, cmp.Compare[uint64])
	return found
}

// ascend calls fn for the entries whose keys begin with prefix and are not
// below from, in order, until fn returns false.
func (t *tree) ascend(prefix, from string, fn func(*Entry) bool) {
	t.keys.AscendGreaterOrEqual(&Entry{Key: max(prefix, from)}, func(e *Entry) bool {
		return strings.HasPrefix(e.Key, prefix) && fn(e)
	})
}

// ascendTag is ascend for the keys that have a tag.
func (t *tree) ascendTag(tag uint64, prefix, from string, fn func(*Entry) bool) {
	t.tags.AscendGreaterOrEqual(tagged{tag, max(prefix, from)}, func(i tagged) bool {
		if i.tag != tag || !strings.HasPrefix(i.key, prefix) {
			return false
		}
		e, ok := t.get(i.key)
		return !ok || fn(e) // it is there: both trees change together
	})
}
