package kv

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// largeValue is a value that is kept in the files only, and no other like it.
func largeValue(id string) string { return strings.Repeat(id+".", DefaultLargeValueBytes/len(id)) }

// wantValue fails the test unless an entry has a value, kept in the files only.
func wantValue(t testing.TB, what string, e Entry, want string) {
	t.Helper()
	got, err := e.Load()
	if err != nil || string(got) != want || e.Size() != len(want) || !e.IsLarge() || e.Value != nil {
		t.Errorf("%s: Load returns %.20q of %d bytes, %v; want %.20q; size %d, large %t, %d bytes in memory",
			what, got, len(got), err, want, e.Size(), e.IsLarge(), len(e.Value))
	}
}

func get(t testing.TB, s Snapshot, key string) Entry {
	t.Helper()
	e, found := s.Get(key)
	if !found {
		t.Fatalf("%s is not there", key)
	}
	return e
}

func awaitTrimmed(t testing.TB, db *DB) {
	t.Helper()
	eventually(t, "the log is trimmed", func() bool { return int64(logRecords(t, db)) == db.Stats().LogEntries })
}

// TestLargeLife follows a reference through the life of its value: written,
// folded, trimmed, overwritten, and gone with the compaction of that.
func TestLargeLife(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, dir, Options{})
	first, second := largeValue("first"), largeValue("second")
	rev := put(t, db, "a", first, 0)
	old := get(t, db.Snapshot(), "a")
	wantValue(t, "in the log", old, first)
	compact(t, db, rev)
	wantValue(t, "folded", old, first)
	awaitTrimmed(t, db)
	wantValue(t, "trimmed", old, first)

	rev2 := put(t, db, "a", second, rev)
	wantValue(t, "overwritten", old, first)
	wantValue(t, "the next", get(t, db.Snapshot(), "a"), second)
	past, err := db.SnapshotAt(t.Context(), rev)
	if err != nil {
		t.Fatal(err)
	}
	wantValue(t, "at the old revision", get(t, past, "a"), first)
	w, err := db.Watch("", rev)
	if err != nil {
		t.Fatal(err)
	}
	events, _, err := w.Next(t.Context())
	if err != nil || len(events) != 1 || events[0].Value != nil || events[0].PrevValue != nil {
		t.Fatalf("events %+v, %v", events, err)
	}
	wantValue(t, "event", events[0].Current(), second)
	wantValue(t, "event, before", events[0].Previous(), first)

	put(t, db, "other", "1", 0)
	compact(t, db, rev2)
	awaitTrimmed(t, db)
	for what, e := range map[string]Entry{"entry": old, "event": events[0].Previous(), "old snapshot": get(t, past, "a")} {
		_, err := e.Load()
		wantErr(t, what+" after its compaction", err, ErrCompacted)
	}
	wantValue(t, "what is left", get(t, db.Snapshot(), "a"), second)
	if stored := storedBytes(t, db); stored > int64(len(second))+1000 {
		t.Errorf("the files hold records of %d bytes, of a value of %d", stored, len(second))
	}
	closeTest(t, db)
	_, err = old.Load()
	wantErr(t, "after Close", err, ErrClosed)
	db = openTest(t, dir, Options{})
	wantValue(t, "after a restart", get(t, db.Snapshot(), "a"), second)
	wantValue(t, "what a delete returns", mustDelete(t, db, "a", rev2), second)
}

func mustDelete(t testing.TB, db *DB, key string, expect int64) Entry {
	t.Helper()
	e, err := db.Apply(t.Context(), Op{Key: key, Delete: true, Expect: expect})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// storedBytes is the size of all records in both files.
func storedBytes(t testing.TB, db *DB) (n int64) {
	t.Helper()
	for b, bucket := range map[*bolt.DB][]byte{db.files.log: logBucket, db.files.state: stateBucket} {
		err := b.View(func(tx *bolt.Tx) error {
			return tx.Bucket(bucket).ForEach(func(_, v []byte) error {
				n += int64(len(v))
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// TestLargeIsReadWhileItMoves reads values all the time while compaction moves
// them from one file to the other: each read of the newest state succeeds.
func TestLargeIsReadWhileItMoves(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{LargeValueBytes: 10})
	const keys, rounds = 5, 200
	value := func(key string, n int) string { return strings.Repeat(fmt.Sprintf("%s=%d;", key, n), 100) }
	revs := map[string]int64{}
	for i := range keys {
		revs[keyN(i)] = put(t, db, keyN(i), value(keyN(i), 0), 0)
	}
	done := make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		defer close(failed)
		for {
			select {
			case <-done:
				return
			default:
			}
			s := db.Snapshot()
			var err error
			s.Ascend("", "", func(e Entry) bool {
				got, loadErr := e.Load()
				gone := errors.Is(loadErr, ErrCompacted)
				switch {
				case gone && db.Snapshot().CompactedRevision() <= s.Revision():
					err = fmt.Errorf("%s at %d, compacted to %d: %w", e.Key, s.Revision(), db.Snapshot().CompactedRevision(), loadErr)
				case loadErr != nil && !gone:
					err = loadErr
				case loadErr == nil && !bytes.HasPrefix(got, []byte(e.Key+"=")):
					err = fmt.Errorf("%s has %.40q", e.Key, got)
				}
				return err == nil
			})
			if err != nil {
				failed <- err
				return
			}
		}
	}()
	for n := range rounds {
		key := keyN(n % keys)
		revs[key] = put(t, db, key, value(key, n), revs[key])
		if n%3 == 0 {
			compact(t, db, db.Snapshot().Revision())
		}
	}
	close(done)
	if err := <-failed; err != nil {
		t.Error(err)
	}
}

// TestLargeDamaged: a value that was damaged while the database is open is
// never returned, and never moved to the other file with a new checksum.
func TestLargeDamaged(t *testing.T) {
	for _, folded := range []bool{false, true} {
		t.Run(fmt.Sprintf("folded=%t", folded), func(t *testing.T) {
			dir := t.TempDir()
			db, err := Open(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			rev := put(t, db, "a", largeValue("a"), 0)
			name := logName
			if folded {
				name = stateName
				compact(t, db, rev)
				awaitTrimmed(t, db)
			}
			path := filepath.Join(dir, name)
			editFile(t, path, func(b []byte) []byte {
				i := bytes.LastIndex(b, []byte("a.a.a.a."))
				b[i] = 'b'
				return b
			})
			_, err = get(t, db.Snapshot(), "a").Load()
			wantErr(t, "Load", err, ErrCorrupt)
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), `"a"`) {
				t.Errorf("the error names neither file nor key: %v", err)
			}
			if !folded {
				wantErr(t, "Compact", db.Compact(t.Context(), rev), ErrFailed)
				wantErr(t, "the cause", db.Err(), ErrCorrupt)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			_, err = Open(dir, Options{})
			wantErr(t, "Open", err, ErrCorrupt)
		})
	}
}

// TestLargeMemory: what a database keeps in memory does not grow with the size
// of its values, neither while they are written nor after a restart.
func TestLargeMemory(t *testing.T) {
	const (
		keys, size = 60, 1 << 20
		sum        = 2 * keys * size // each is written twice
	)
	dir := t.TempDir()
	inUse := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := inUse()
	want := func(when string) {
		t.Helper()
		if now := inUse(); now > before+sum/8 {
			t.Errorf("%s: the heap has grown by %d bytes, with values of %d", when, now-before, sum)
		}
	}
	db := openTest(t, dir, Options{})
	value := bytes.Repeat([]byte("x"), size)
	for i := range keys {
		rev := put(t, db, keyN(i), string(value), 0)
		put(t, db, keyN(i), string(value), rev)
	}
	want("after the writes")
	compact(t, db, db.Snapshot().Revision())
	awaitTrimmed(t, db)
	want("after compaction")
	closeTest(t, db)
	db = openTest(t, dir, Options{})
	want("after a restart")
	if st := db.Stats(); st.Keys != keys {
		t.Errorf("%d keys, want %d", st.Keys, keys)
	}
}

// TestLargeCopies: backup, restore, shrink and offline reads take large values along.
func TestLargeCopies(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, dir, Options{})
	values := map[string]string{}
	for i := range 20 {
		key := keyN(i)
		values[key] = largeValue(key)
		rev := put(t, db, key, values[key], 0)
		if i == 10 {
			compact(t, db, rev)
		}
	}
	check := func(what string, s Snapshot) {
		t.Helper()
		n := 0
		s.Ascend("", "", func(e Entry) bool {
			n++
			wantValue(t, what, e, values[e.Key])
			return true
		})
		if n != len(values) {
			t.Errorf("%s: %d keys, want %d", what, n, len(values))
		}
	}
	var online bytes.Buffer
	if _, err := db.Backup(t.Context(), &online, nil); err != nil {
		t.Fatal(err)
	}
	closeTest(t, db)
	o, err := ReadOffline(dir)
	if err != nil {
		t.Fatal(err)
	}
	check("offline", o.Snapshot)
	var offline bytes.Buffer
	if _, err := o.Backup(t.Context(), &offline, nil); err != nil || !bytes.Equal(online.Bytes(), offline.Bytes()) {
		t.Errorf("the backups differ, or %v", err)
	}
	_, err = Open(dir, Options{})
	wantErr(t, "Open beside an offline reader", err, ErrLocked)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Shrink(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	check("after Shrink", openTest(t, dir, Options{}).Snapshot())
	restored := filepath.Join(t.TempDir(), "restored")
	if _, err := Restore(t.Context(), &online, restored, RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	check("restored", openTest(t, restored, Options{}).Snapshot())
}
