package bolt

import (
	"bytes"
	"sync"
	"weak"
)

// Bounds of what a store remembers of objects it has decoded for watches. They
// cover what watches that keep up have in common, which is the last few
// commits; a watch that lags behind decodes for itself.
const (
	memoEntries = 1024
	memoBytes   = 2 << 20
)

// memoKey names one version of an object as events show it.
type memoKey struct {
	key string
	rev int64
	// last says that this is what an object was before the write rev, shown at
	// the revision of that write because it went away by it.
	last bool
}

// memo remembers the objects of recent events, so that an event that goes to
// many watches, or that is the previous version of the next, is decrypted,
// decoded and encoded once.
//
// It is no cache of the database: an answer is used only for the very bytes it
// was made from, which the caller has read anew. Failures are not remembered.
type memo struct {
	maxEntries, maxBytes int

	mu      sync.Mutex
	entries map[memoKey]*memoEntry
	// order is a ring of maxEntries keys: those of entries, oldest at head.
	order []memoKey
	head  int
	bytes int
}

type memoEntry struct {
	raw []byte
	reading
	// large is where a large object is read instead. It is not kept.
	large weak.Pointer[reading]
}

// reading is the making of an object, by whoever asks first.
type reading struct {
	once sync.Once
	obj  *sharedObject
	err  error
}

func (r *reading) object(read func() (*sharedObject, error)) (*sharedObject, error) {
	mine := false
	r.once.Do(func() {
		mine = true
		r.obj, r.err = read()
	})
	if r.err != nil && !mine {
		return read()
	}
	return r.obj, r.err
}

func newMemo(maxEntries, maxBytes int) *memo {
	return &memo{
		maxEntries: maxEntries,
		maxBytes:   maxBytes,
		entries:    map[memoKey]*memoEntry{},
		order:      make([]memoKey, maxEntries),
	}
}

// object returns what read makes of the stored value raw, which is that of k.
// Callers that ask for the same at the same time wait for one of them; if that
// one fails, which may be because its request ended, each reads for itself.
func (m *memo) object(k memoKey, raw []byte, read func() (*sharedObject, error)) (*sharedObject, error) {
	e := m.entry(k, raw)
	if !bytes.Equal(e.raw, raw) { // which looks at the bytes only if they are in two places
		return read()
	}
	return e.reading.object(read)
}

// large is object for a value that is in the files only. It is shared by the
// watches that send it at the same time, and lives no longer than the last of
// them needs it. Its bytes need no comparison: k names a write, which has one value.
func (m *memo) large(k memoKey, read func() (*sharedObject, error)) (*sharedObject, error) {
	r := m.reading(k)
	obj, err := r.object(read)
	if err == nil {
		obj.origin.Store(r) // whoever holds the object keeps it findable
	}
	return obj, err
}

// reading returns where the large object of k is read.
func (m *memo) reading(k memoKey) *reading {
	e := m.entry(k, nil)
	m.mu.Lock()
	defer m.mu.Unlock()
	r := e.large.Value()
	if r == nil {
		r = &reading{}
		e.large = weak.Make(r)
	}
	return r
}

// entry returns the entry of k, and makes room for it if it is new.
func (m *memo) entry(k memoKey, raw []byte) *memoEntry {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.entries[k]; e != nil {
		return e
	}
	e := &memoEntry{raw: raw}
	if len(raw) > m.maxBytes {
		return e
	}
	for m.bytes+len(raw) > m.maxBytes || len(m.entries) >= m.maxEntries {
		m.dropOldestLocked()
	}
	m.order[(m.head+len(m.entries))%m.maxEntries] = k
	m.entries[k] = e
	m.bytes += len(raw)
	return e
}

func (m *memo) dropOldestLocked() {
	k := m.order[m.head]
	m.bytes -= len(m.entries[k].raw)
	delete(m.entries, k)
	m.head = (m.head + 1) % m.maxEntries
}
