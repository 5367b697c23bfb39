package kv

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// model is what a database should be, in a map and a slice.
type model struct {
	rev, compacted int64
	now            map[string]Entry
	// states[i] is the content at revision i; events[i] the write of revision i.
	states []map[string]Entry
	events []Event
}

func newModel() *model {
	return &model{rev: 1, now: map[string]Entry{}, states: []map[string]Entry{{}, {}}, events: make([]Event, 2)}
}

// apply is the specification of DB.Apply.
func (m *model) apply(op Op) (Entry, error) {
	old, exists := m.now[op.Key]
	if old.ModRev != op.Expect || op.Delete && !exists {
		return Entry{}, &ConflictError{Key: op.Key, Exists: exists, Current: old}
	}
	m.rev++
	ev := Event{Rev: m.rev, Key: op.Key, Delete: op.Delete, PrevValue: old.Value, PrevRev: old.ModRev, CreateRev: old.CreateRev}
	out := old
	out.ModRev = m.rev
	if op.Delete {
		delete(m.now, op.Key)
	} else {
		if !exists {
			out.CreateRev, ev.CreateRev = m.rev, m.rev
		}
		out.Key, out.Value, out.Expiry = op.Key, op.Value, op.Expiry
		ev.Value = op.Value
		m.now[op.Key] = out
	}
	m.states = append(m.states, maps.Clone(m.now))
	m.events = append(m.events, ev)
	return out, nil
}

func sorted(state map[string]Entry) []Entry {
	return slices.SortedFunc(maps.Values(state), func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
}

// walk drives a database and its model in step.
type walk struct {
	*testing.T
	rnd *rand.Rand
	db  *DB
	m   *model
}

func TestModel(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel() // they wait for the disk most of the time
			w := &walk{T: t, rnd: rand.New(rand.NewPCG(seed, 7)), m: newModel()}
			dir := t.TempDir()
			w.db = openTest(t, dir, Options{})
			for range 3000 {
				switch n := w.rnd.IntN(1000); {
				case n < 4:
					closeTest(t, w.db)
					w.db = openTest(t, dir, Options{})
					w.compareNow()
				case n < 20:
					w.compact()
				case n < 60:
					w.readPast()
				case n < 80:
					w.watch()
				default:
					w.write()
				}
			}
			w.compareNow()
		})
	}
}

func (w *walk) write() {
	op := Op{Key: keyN(w.rnd.IntN(60)), Expiry: int64(w.rnd.IntN(3)), Delete: w.rnd.IntN(4) == 0}
	if w.rnd.IntN(10) > 0 {
		op.Expect = w.m.now[op.Key].ModRev
	} else {
		op.Expect = w.rnd.Int64N(w.m.rev + 2)
	}
	if !op.Delete {
		op.Value = []byte(strings.Repeat(fmt.Sprintf("%d.", w.m.rev), w.rnd.IntN(400)))
	}
	want, wantErr := w.m.apply(op)
	got, err := w.db.Apply(w.Context(), op)
	var conflict *ConflictError
	if errors.As(wantErr, &conflict) {
		if diff := diff(wantErr, err); diff != "" {
			w.Fatalf("Apply(%+v) error (-want +got):\n%s", op, diff)
		}
	} else if err != nil {
		w.Fatalf("Apply(%+v): %v", op, err)
	}
	if diff := diff(want, got); diff != "" {
		w.Fatalf("Apply(%+v) (-want +got):\n%s", op, diff)
	}
}

func (w *walk) compact() {
	rev := w.rnd.Int64N(w.m.rev) + 1
	compact(w, w.db, rev)
	w.m.compacted = max(w.m.compacted, rev)
	w.compareNow()
}

func (w *walk) compareNow() {
	s := w.db.Snapshot()
	if s.Revision() != w.m.rev || s.CompactedRevision() != w.m.compacted {
		w.Fatalf("revision %d, compacted %d; want %d, %d", s.Revision(), s.CompactedRevision(), w.m.rev, w.m.compacted)
	}
	if diff := diff(sorted(w.m.now), dump(s)); diff != "" {
		w.Fatalf("content (-want +got):\n%s", diff)
	}
	st := w.db.Stats()
	if st.Keys != len(w.m.now) || st.LogEntries != w.m.rev-w.m.compacted {
		w.Fatalf("Stats = %+v; want %d keys and %d entries", st, len(w.m.now), w.m.rev-w.m.compacted)
	}
	if sum := logSums(w.db); sum != [2]int64{st.LogBytes, st.LogRecordBytes} {
		w.Fatalf("LogBytes, LogRecordBytes = %d, %d; the sums are %d", st.LogBytes, st.LogRecordBytes, sum)
	}
}

// logSums adds up what Stats keeps a running sum of.
func logSums(db *DB) (sum [2]int64) {
	r := db.root.Load()
	for rev := r.compacted + 1; rev <= r.rev; rev++ {
		sum[0] += r.log.at(rev).memory()
		sum[1] += r.log.at(rev).diskSize()
	}
	return sum
}

func (w *walk) readPast() {
	rev := w.rnd.Int64N(w.m.rev + 3)
	s, err := w.db.SnapshotAt(w.Context(), rev)
	switch {
	case rev < w.m.compacted:
		wantErr(w, "SnapshotAt", err, ErrCompacted)
	case rev > w.m.rev:
		wantErr(w, "SnapshotAt", err, ErrFutureRevision)
	case err != nil:
		w.Fatalf("SnapshotAt(%d): %v", rev, err)
	case s.Revision() != rev:
		w.Fatalf("SnapshotAt(%d) is of revision %d", rev, s.Revision())
	default:
		if diff := diff(sorted(w.m.states[rev]), dump(s)); diff != "" {
			w.Fatalf("SnapshotAt(%d) (-want +got):\n%s", rev, diff)
		}
	}
}

func (w *walk) watch() {
	after := w.rnd.Int64N(w.m.rev + 1)
	prefix := keyN(w.rnd.IntN(6) * 10)[:6] // ten of the sixty keys
	watcher, err := w.db.Watch(prefix, after)
	if after < w.m.compacted {
		wantErr(w, "Watch", err, ErrCompacted)
		return
	}
	if err != nil {
		w.Fatalf("Watch: %v", err)
	}
	var want, got []Event
	for _, ev := range w.m.events[after+1:] {
		if strings.HasPrefix(ev.Key, prefix) {
			want = append(want, ev)
		}
	}
	for upTo := after; upTo < w.m.rev; {
		var events []Event
		if events, upTo, err = watcher.Next(w.Context()); err != nil {
			w.Fatalf("Next: %v", err)
		}
		got = append(got, events...)
	}
	if diff := diff(want, got); diff != "" {
		w.Fatalf("events after %d (-want +got):\n%s", after, diff)
	}
}
