package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// crashCopies lets db copy its files before and after each commit of either:
// all that a crash can leave behind, since bbolt's commits are atomic.
type crashCopies struct {
	t    *testing.T
	base string
	mu   sync.Mutex // one commit at a time, so that the two copies belong together
	dirs []string
}

func (c *crashCopies) commit(dir string) func(*bolt.Tx) error {
	return func(tx *bolt.Tx) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.copy(dir)
		err := tx.Commit()
		c.copy(dir)
		return err
	}
}

func (c *crashCopies) copy(dir string) {
	to := filepath.Join(c.base, fmt.Sprint(len(c.dirs)))
	if err := os.Mkdir(to, dirMode); err != nil {
		c.t.Error(err)
		return
	}
	copyDB(c.t, dir, to)
	c.dirs = append(c.dirs, to)
}

// copyDB copies the parts in use of both files.
func copyDB(t testing.TB, from, to string) {
	t.Helper()
	for _, name := range []string{logName, stateName} {
		b, err := os.ReadFile(filepath.Join(from, name))
		c := &pageCheck{file: bytes.NewReader(b)}
		if err := errors.Join(err, c.readMeta()); err != nil {
			t.Errorf("copy: %v", err)
			continue
		}
		used := b[:c.meta.pages*c.meta.pageSize]
		if err := os.WriteFile(filepath.Join(to, name), used, fileMode); err != nil {
			t.Errorf("copy: %v", err)
		}
	}
}

// churn makes a history in which keys of every kind are folded: updated,
// deleted, made again, and come and gone.
func churn(t testing.TB, m *model, db *DB) {
	t.Helper()
	for i := range 400 {
		key := keyN(i % 37)
		op := Op{Key: key, Value: bytes.Repeat(fmt.Append(nil, "value ", i, "."), 20), Expect: m.now[key].ModRev}
		if i%5 == 3 && op.Expect != 0 {
			op = Op{Key: key, Expect: op.Expect, Delete: true}
		}
		if _, err := m.apply(op); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Apply(t.Context(), op); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCompactCrash opens what a crash at any point of a compaction would
// leave, and finds the content, the revision and the remaining history whole;
// the compaction then completes as if nothing had been.
func TestCompactCrash(t *testing.T) {
	dir, m := t.TempDir(), newModel()
	db := openTest(t, dir, Options{})
	churn(t, m, db)
	compact(t, db, 150)
	churn(t, m, db)
	copies := &crashCopies{t: t, base: t.TempDir()}
	db.commit = copies.commit(dir)
	compact(t, db, 600)
	eventually(t, "log is trimmed", func() bool { return logRecords(t, db) == int(m.rev)-600 })
	closeTest(t, db)
	if len(copies.dirs) < 4 {
		t.Fatalf("only %d points of crash", len(copies.dirs))
	}
	compactedSeen := map[int64]bool{}
	for _, dir := range copies.dirs {
		m.compacted = checkAfterCrash(t, m, dir)
		compactedSeen[m.compacted] = true
	}
	if !compactedSeen[150] || !compactedSeen[600] {
		t.Errorf("compacted revisions seen after a crash: %v, want 150 and 600 among them", compactedSeen)
	}
}

func checkAfterCrash(t *testing.T, m *model, dir string) (compacted int64) {
	t.Helper()
	db := openTest(t, dir, Options{})
	compacted = db.Snapshot().CompactedRevision()
	w := &walk{T: t, db: db, m: m}
	m.compacted = compacted
	w.compareNow()
	for rev := compacted; rev <= m.rev; rev += 29 {
		s, err := db.SnapshotAt(t.Context(), rev)
		if err != nil {
			t.Fatalf("SnapshotAt(%d): %v", rev, err)
		}
		if diff := diff(sorted(m.states[rev]), dump(s)); diff != "" {
			t.Fatalf("%s: revision %d (-want +got):\n%s", dir, rev, diff)
		}
	}
	compact(t, db, 600)
	m.compacted = 600
	eventually(t, "log is trimmed", func() bool { return logRecords(t, db) == int(m.rev)-600 })
	closeTest(t, db)
	w.db = openTest(t, dir, Options{})
	w.compareNow()
	closeTest(t, w.db)
	return compacted
}

// TestCompactInSlices checks that a large compaction takes several
// transactions, and that a crash between any two of them loses nothing.
func TestCompactInSlices(t *testing.T) {
	dir, m := t.TempDir(), newModel()
	db := openTest(t, dir, Options{})
	value := []byte(strings.Repeat("v", 1<<20))
	for i := range 14 {
		op := Op{Key: keyN(i % 10), Value: value, Expect: m.now[keyN(i%10)].ModRev}
		if _, err := m.apply(op); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Apply(t.Context(), op); err != nil {
			t.Fatal(err)
		}
	}
	copies := &crashCopies{t: t, base: t.TempDir()}
	db.commit = copies.commit(dir)
	compact(t, db, m.rev)
	closeTest(t, db)
	seen := map[int64]bool{}
	for _, dir := range copies.dirs {
		w := &walk{T: t, m: m, db: openTest(t, dir, Options{})}
		m.compacted = w.db.Snapshot().CompactedRevision()
		seen[m.compacted] = true
		w.compareNow()
		closeTest(t, w.db)
	}
	if len(seen) < 4 {
		t.Errorf("compacted revisions seen: %v, want at least four", seen)
	}
}

func TestNetChanges(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	kept := put(t, db, "kept", "1", 0)
	gone := put(t, db, "gone", "1", 0)
	again := put(t, db, "again", "1", 0)
	flicker := put(t, db, "flicker", "1", 0)
	compact(t, db, flicker)
	put(t, db, "kept", "22", kept)
	remove(t, db, "gone", gone)
	remove(t, db, "again", again)
	put(t, db, "again", "333", 0)
	remove(t, db, "flicker", flicker)
	remove(t, db, "flicker", put(t, db, "flicker", "2", 0))
	end := remove(t, db, "short", put(t, db, "short", "1", 0))

	s := netChanges(db.root.Load(), end, foldLimit{100, 1000})
	got := map[string]string{}
	for key, c := range s.changes {
		got[key] = "gone"
		if c.cur != nil {
			got[key] = string(c.cur.Value)
		}
	}
	want := map[string]string{"kept": "22", "gone": "gone", "again": "333", "flicker": "gone"}
	if diff := diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if s.bytes != 5 || s.to != end {
		t.Errorf("bytes %d to revision %d, want 5 to %d", s.bytes, s.to, end)
	}
}

func TestCompactBounds(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	rev := put(t, db, "a", "1", 0)
	wantErr(t, "Compact of the future", db.Compact(t.Context(), rev+1), ErrFutureRevision)
	compact(t, db, rev)
	compact(t, db, rev)
	compact(t, db, 0)
	if got := db.Snapshot().CompactedRevision(); got != rev {
		t.Errorf("compacted revision %d, want %d", got, rev)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	rev = put(t, db, "a", "2", rev)
	wantErr(t, "Compact", db.Compact(ctx, rev), context.Canceled)
	if n := db.Stats().LogBytes; n == 0 {
		t.Error("LogBytes is 0 with an update in the log")
	}
	compact(t, db, rev)
	if s := db.Stats(); s.LogBytes != 0 || s.LogRecordBytes != 0 || s.LogEntries != 0 {
		t.Errorf("after compaction of everything: %+v", s)
	}
}

// TestRevisionsAcrossRestart checks that an empty log still knows how far
// revisions have come.
func TestRevisionsAcrossRestart(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, dir, Options{})
	if s := db.Snapshot(); s.Revision() != 1 || s.CompactedRevision() != 0 {
		t.Errorf("a new database is at %d, compacted %d; want 1, 0", s.Revision(), s.CompactedRevision())
	}
	rev := remove(t, db, "a", put(t, db, "a", "1", 0))
	compact(t, db, rev)
	eventually(t, "log is trimmed", func() bool { return logRecords(t, db) == 0 })
	closeTest(t, db)
	db = openTest(t, dir, Options{})
	if got := put(t, db, "a", "1", 0); got != rev+1 {
		t.Errorf("first revision after restart is %d, want %d", got, rev+1)
	}
}

// TestTrimBesideWrites checks that the log shrinks while there is always
// something to write, and that freed pages are used again.
func TestTrimBesideWrites(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	fill(t, db, 5000)
	compact(t, db, db.Snapshot().Revision())
	var rev int64
	for i := 0; logRecords(t, db) > i; i++ {
		rev = put(t, db, "a", "1", rev)
		if i > 5000 {
			t.Fatalf("%d records in the log after %d writes", logRecords(t, db), i)
		}
	}
	before, err := usedBytes(db.files.log)
	if err != nil {
		t.Fatal(err)
	}
	for range 300 {
		rev = put(t, db, "a", "1", rev)
	}
	if after, err := usedBytes(db.files.log); err != nil || after != before {
		t.Errorf("the log grew from %d to %d bytes, %v, though most of it is free", before, after, err)
	}
}
