package bolt

import (
	"bytes"
	"sync"
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
	raw  []byte
	once sync.Once
	obj  *sharedObject
	err  error
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
	mine := false
	e.once.Do(func() {
		mine = true
		e.obj, e.err = read()
	})
	if e.err != nil && !mine {
		return read()
	}
	return e.obj, e.err
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
