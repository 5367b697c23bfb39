package kv

// root is all there is at one revision. It never changes once published.
type root struct {
	rev, compacted int64
	// tree is read by everybody and cloned, which writes to it, by history only.
	tree *tree
	// log holds (compacted, rev].
	log window
	// logMemory and logDisk are the sums of memory and diskSize over the log.
	logMemory, logDisk int64
	// next is closed once a newer root is published.
	next chan struct{}
}

func (r *root) snapshot() Snapshot {
	return Snapshot{tree: r.tree, rev: r.rev, compacted: r.compacted}
}

// apply changes t as the write says.
func (r record) apply(t *tree) { t.replace(r.prev, r.cur) }

// undo takes the write back.
func (r record) undo(t *tree) { t.replace(r.cur, r.prev) }

// Snapshot is an immutable view of the keys at one revision. It is free to
// take and to hold, also after Close, and safe for concurrent use; while held it keeps in
// memory what has changed since, except for large values: see Entry.Load. The zero
// Snapshot is of no use.
type Snapshot struct {
	tree           *tree
	rev, compacted int64
}

// Revision returns the revision that the snapshot shows.
func (s Snapshot) Revision() int64 { return s.rev }

// CompactedRevision returns the compacted revision at the time the snapshot was taken.
func (s Snapshot) CompactedRevision() int64 { return s.compacted }

// Get returns the entry of key, and whether there is one.
func (s Snapshot) Get(key string) (Entry, bool) {
	e, ok := s.tree.get(key)
	if !ok {
		return Entry{}, false
	}
	return *e, true
}

// Ascend calls fn for every key that begins with prefix and is not below
// from, in order, until fn returns false.
func (s Snapshot) Ascend(prefix, from string, fn func(Entry) bool) {
	s.tree.ascend(prefix, from, func(e *Entry) bool { return fn(*e) })
}

// AscendTag is Ascend for the keys that have a searchable tag. It looks at no others.
func (s Snapshot) AscendTag(tag uint64, prefix, from string, fn func(Entry) bool) {
	s.tree.ascendTag(tag, prefix, from, func(e *Entry) bool { return fn(*e) })
}

// Count returns the number of keys that begin with prefix. It walks them.
func (s Snapshot) Count(prefix string) (n int64) {
	if prefix == "" {
		return int64(s.tree.len())
	}
	s.tree.ascend(prefix, prefix, func(*Entry) bool {
		n++
		return true
	})
	return n
}
