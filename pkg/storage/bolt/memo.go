package bolt

import (
	"bytes"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
)

// Bounds of what a store remembers of objects it has decoded for watches. They
// cover what watches that keep up have in common, which is the last few
// commits; a watch that lags behind decodes for itself.
const (
	memoEntries = 1024
	memoBytes   = 2 << 20
)

// memoKey names one version of an object.
type memoKey struct {
	key string
	rev int64
}

// memo remembers the objects of recent events, so that an event that goes to
// many watches, or that is the previous version of the next, is decoded once.
//
// It is a memory of a pure function, not a cache of the database: an answer is
// used only for the very bytes it was made from, which the caller has read and
// transformed anew. Objects in it are shared and must not be modified or handed
// out; see runtime.Object.DeepCopyObject.
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
	data []byte
	once sync.Once
	obj  runtime.Object
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

// decode returns the object that decode makes of data, which is that of k.
// Callers that ask for the same at the same time wait for one of them.
func (m *memo) decode(k memoKey, data []byte, decode func([]byte) (runtime.Object, error)) (runtime.Object, error) {
	e := m.entry(k, data)
	if !bytes.Equal(e.data, data) {
		return decode(data)
	}
	e.once.Do(func() { e.obj, e.err = decode(e.data) })
	return e.obj, e.err
}

// entry returns the entry of k, and makes room for it if it is new.
func (m *memo) entry(k memoKey, data []byte) *memoEntry {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.entries[k]; e != nil {
		return e
	}
	e := &memoEntry{data: data}
	if len(data) > m.maxBytes {
		return e
	}
	for m.bytes+len(data) > m.maxBytes || len(m.entries) >= m.maxEntries {
		m.dropOldestLocked()
	}
	m.order[(m.head+len(m.entries))%m.maxEntries] = k
	m.entries[k] = e
	m.bytes += len(data)
	return e
}

func (m *memo) dropOldestLocked() {
	k := m.order[m.head]
	m.bytes -= len(m.entries[k].data)
	delete(m.entries, k)
	m.head = (m.head + 1) % m.maxEntries
}
