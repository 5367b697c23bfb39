package kv

import "slices"

// chunkSize trades the cost of a compaction, which copies one chunk, for the
// length of the list of chunks, which every compaction copies too.
const chunkSize = 512

// record is one write in memory. It keeps what the key held before, from
// which a watcher tells the previous value and SnapshotAt goes back in time.
type record struct {
	// cur is what the write left; nil for a delete.
	cur *Entry
	// prev is what was there; nil if the write created the key. Both are nil
	// for a revision that changed nothing.
	prev *Entry
}

func (r record) op() op {
	switch {
	case r.cur != nil:
		return opPut
	case r.prev != nil:
		return opDelete
	}
	return opMark
}

func (r record) key() string {
	switch {
	case r.cur != nil:
		return r.cur.Key
	case r.prev != nil:
		return r.prev.Key
	}
	return ""
}

func (r record) event(rev int64) Event {
	e := Event{Rev: rev, Key: r.key(), Delete: r.cur == nil}
	if r.prev != nil {
		e.PrevValue, e.prevLarge, e.PrevRev, e.CreateRev = r.prev.Value, r.prev.large, r.prev.ModRev, r.prev.CreateRev
	}
	if r.cur != nil {
		e.Value, e.large, e.CreateRev = r.cur.Value, r.cur.large, r.cur.CreateRev
	}
	return e
}

// entryOverhead is roughly what an entry costs in memory beside its bytes.
const entryOverhead = 96

// memory is what only the log keeps alive: the record and the entry it
// replaced. A large value counts as well, although it takes disk instead: it
// goes with the log, and must not pile up there either.
func (r record) memory() int64 {
	n := int64(16)
	if r.prev != nil {
		n += entryOverhead + int64(r.prev.Size())
	}
	return n
}

// diskSize is the size of the record in log.db.
func (r record) diskSize() int64 {
	n := int64(recordHead + recordCRC + revKeySize + len(r.key()))
	if r.cur != nil {
		n += int64(r.cur.Size() + tagSize*len(r.cur.Tags))
	}
	return n
}

// window is the log from one revision on. Revisions have no gaps, so a
// revision is a position. Copies of a window share their chunks: the writer
// fills slots beyond what any published copy reads, and never changes a slot
// twice, so readers need no lock; they must stay at or below their root's revision.
type window struct {
	// first is the revision of the first slot of the first chunk.
	first  int64
	chunks []*[chunkSize]record
}

// at returns the write of revision rev, which must be in the window.
func (w window) at(rev int64) record {
	i := rev - w.first
	return w.chunks[i/chunkSize][i%chunkSize]
}

// append adds the write of revision rev, which must be the next. Only the
// newest window may be appended to.
func (w *window) append(rev int64, r record) {
	i := rev - w.first
	if i == int64(len(w.chunks))*chunkSize {
		w.chunks = append(w.chunks, new([chunkSize]record))
	}
	w.chunks[i/chunkSize][i%chunkSize] = r
}

// after returns a window without the revisions at or below rev. It shares no
// list with w, and its first chunk keeps nothing of what was dropped.
func (w window) after(rev int64) window {
	n := rev + 1 - w.first
	out := window{first: w.first + n/chunkSize*chunkSize, chunks: slices.Clone(w.chunks[n/chunkSize:])}
	if keepFrom := n % chunkSize; len(out.chunks) > 0 && keepFrom > 0 {
		boundary := new([chunkSize]record)
		copy(boundary[keepFrom:], out.chunks[0][keepFrom:])
		out.chunks[0] = boundary
	}
	return out
}
