package kv

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

// To look further than "make test" does: go test ./pkg/storage/kv -run TestModel
// -model.seed=1000 -model.runs=50 -model.steps=20000. The name of a failed
// subtest is the seed that brings the failure back.
var (
	modelSeed  = flag.Uint64("model.seed", 0, "first seed of TestModel")
	modelRuns  = flag.Uint64("model.runs", 4, "how many seeds TestModel takes")
	modelSteps = flag.Int("model.steps", 3000, "how many steps TestModel goes with each")
)

const (
	modelKeys = 60
	modelTags = 5
)

// walk drives a database and its model in step.
type walk struct {
	*testing.T
	rnd *rand.Rand
	dir string
	db  *DB
	m   *model
	// largeAbove is the size of values above which they are kept in the files only.
	largeAbove int
	// camera takes pictures of the files, as a crash would leave them.
	camera *camera
	// held are snapshots that must not change; followers are watches under way.
	held      []Snapshot
	followers []*follower
}

// TestModel takes random steps and compares the whole database with the model
// after each of them.
func TestModel(t *testing.T) {
	for seed := *modelSeed; seed < *modelSeed+*modelRuns; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel() // they wait for the disk most of the time
			w := &walk{T: t, rnd: rand.New(rand.NewPCG(seed, 7)), m: newModel(), dir: t.TempDir()}
			if seed%2 == 0 {
				w.largeAbove = 100 // which most of them are
			}
			w.camera = &camera{rnd: rand.New(rand.NewPCG(seed, 8))}
			w.open()
			for range *modelSteps {
				w.step()
				w.compareNow()
				w.develop()
			}
			w.compareSums()
			w.reopen()
			w.compareNow()
		})
	}
}

func (w *walk) step() {
	switch n := w.rnd.IntN(1000); {
	case n < 4:
		w.reopen()
	case n < 20:
		w.compact()
	case n < 60:
		w.readPast()
	case n < 80:
		w.watch()
	case n < 120:
		w.follow()
	case n < 150:
		w.hold()
	case n < 180:
		w.burst()
	default:
		w.write()
	}
}

func (w *walk) open() {
	w.db = openTest(w, w.dir, Options{LargeValueBytes: w.largeAbove})
	w.camera.watch(w.db)
}

// reopen closes the database, which has its files checked, and opens it again.
func (w *walk) reopen() {
	closeTest(w, w.db)
	w.open()
	w.compareSums()
	w.resume()
}

// op makes up a write, mostly one that expects what is there.
func (w *walk) op(key string) Op {
	op := Op{Key: key, Expiry: int64(w.rnd.IntN(3)), Delete: w.rnd.IntN(4) == 0}
	if w.rnd.IntN(10) > 0 {
		op.Expect = w.m.now[op.Key].ModRev
	} else {
		op.Expect = w.rnd.Int64N(w.m.rev + 2)
	}
	if op.Delete {
		return op
	}
	size := w.rnd.IntN(400)
	if w.rnd.IntN(300) == 0 {
		size = w.rnd.IntN(200_000) // several pages, up to a megabyte
	}
	op.Value = []byte(strings.Repeat(fmt.Sprintf("%d.", w.m.rev), size))
	for i := range uint64(modelTags) {
		if w.rnd.IntN(4) == 0 {
			op.Tags = append(op.Tags, testTag(i))
		}
	}
	return op
}

func (w *walk) write() {
	op := w.op(keyN(w.rnd.IntN(modelKeys)))
	got, err := w.db.Apply(w.Context(), op)
	w.applied(op, got, err)
}

// applied has the model do what the database has done, and compares the answers.
func (w *walk) applied(op Op, got Entry, err error) {
	w.Helper()
	want, wantErr := w.m.apply(op)
	var conflict *ConflictError
	if got := new(ConflictError); errors.As(err, &got) {
		got.Current = inFull(got.Current)
	}
	if errors.As(wantErr, &conflict) {
		if diff := diff(wantErr, err); diff != "" {
			w.Fatalf("Apply(%+v) error (-want +got):\n%s", op, diff)
		}
	} else if err != nil {
		w.Fatalf("Apply(%+v): %v", op, err)
	}
	if diff := diff(want, inFull(got)); diff != "" {
		w.Fatalf("Apply(%+v) (-want +got):\n%s", op, diff)
	}
}

// burst writes to several keys at once, which may share a commit. The
// revisions tell the order to the model.
func (w *walk) burst() {
	type answer struct {
		op  Op
		got Entry
		err error
	}
	answers := make([]answer, 2+w.rnd.IntN(20))
	var wg sync.WaitGroup
	for i, key := range w.rnd.Perm(modelKeys)[:len(answers)] {
		answers[i].op = w.op(keyN(key))
		wg.Go(func() { answers[i].got, answers[i].err = w.db.Apply(w.Context(), answers[i].op) })
	}
	wg.Wait()
	slices.SortFunc(answers, func(a, b answer) int { return int(a.got.ModRev - b.got.ModRev) })
	for _, a := range answers {
		w.applied(a.op, a.got, a.err)
	}
}

func (w *walk) compact() {
	rev := w.rnd.Int64N(w.m.rev) + 1
	compact(w, w.db, rev)
	w.m.compacted = max(w.m.compacted, rev)
	w.compareSums()
}

func (w *walk) compareNow() {
	w.Helper()
	s := w.db.Snapshot()
	if s.Revision() != w.m.rev || s.CompactedRevision() != w.m.compacted {
		w.Fatalf("revision %d, compacted %d; want %d, %d", s.Revision(), s.CompactedRevision(), w.m.rev, w.m.compacted)
	}
	w.compare(s, w.m.now)
	if st := w.db.Stats(); st.Keys != len(w.m.now) || st.LogEntries != w.m.rev-w.m.compacted {
		w.Fatalf("Stats = %+v; want %d keys and %d entries", st, len(w.m.now), w.m.rev-w.m.compacted)
	}
}

// compare compares all that a snapshot holds, and what the tags find.
func (w *walk) compare(s Snapshot, want map[string]Entry) {
	w.Helper()
	want = w.withoutGone(s, want)
	if diff := diff(sorted(want), dump(s)); diff != "" {
		w.Fatalf("content at revision %d (-want +got):\n%s", s.Revision(), diff)
	}
	for i := range uint64(modelTags) {
		tag := testTag(i)
		var keys []string
		s.AscendTag(tag, "", "", func(e Entry) bool {
			keys = append(keys, e.Key)
			return true
		})
		if diff := diff(withTag(want, tag), keys); diff != "" {
			w.Fatalf("keys with tag %d at revision %d (-want +got):\n%s", tag, s.Revision(), diff)
		}
	}
}

// withoutGone returns want with what dump shows of the large values that a
// snapshot may have lost: all of a database that was closed since, and those
// that were overwritten at or below the compacted revision.
func (w *walk) withoutGone(s Snapshot, want map[string]Entry) map[string]Entry {
	if len(want) == 0 {
		return want
	}
	want = maps.Clone(want)
	s.Ascend("", "", func(e Entry) bool {
		_, err := e.Load()
		closed := errors.Is(err, ErrClosed) && e.large.from != w.db.files
		gone := errors.Is(err, ErrCompacted) && w.m.states[w.m.compacted][e.Key].ModRev != e.ModRev
		if lost := want[e.Key]; closed || gone {
			lost.Value = []byte(err.Error())
			want[e.Key] = lost
		}
		return true
	})
	return want
}

// compareSums adds up what Stats keeps a running sum of.
func (w *walk) compareSums() {
	w.Helper()
	st := w.db.Stats()
	if sum := logSums(w.db); sum != [2]int64{st.LogBytes, st.LogRecordBytes} {
		w.Fatalf("LogBytes, LogRecordBytes = %d, %d; the sums are %d", st.LogBytes, st.LogRecordBytes, sum)
	}
}

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
		w.compare(s, w.m.states[rev])
	}
}

// hold keeps a snapshot, and looks whether an older one is what it was.
func (w *walk) hold() {
	const most = 10
	if len(w.held) == most {
		i := w.rnd.IntN(most)
		w.compare(w.held[i], w.m.states[w.held[i].Revision()])
		w.held = slices.Delete(w.held, i, i+1)
	}
	w.held = append(w.held, w.db.Snapshot())
}
