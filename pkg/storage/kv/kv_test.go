package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	bolt "go.etcd.io/bbolt"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// openTest opens the database in dir. It is closed, and its files are
// checked, at the end of the test if the test has not done it.
func openTest(t testing.TB, dir string, o Options) *DB {
	t.Helper()
	db, err := Open(dir, o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { closeTest(t, db) })
	return db
}

// closeTest closes db, unless it is, and lets both bbolt and our own check look at the files.
func closeTest(t testing.TB, db *DB) {
	t.Helper()
	select {
	case <-db.closing:
		return // by the test itself, which may have done things to the files since
	default:
	}
	if err := db.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	for _, name := range []string{logName, stateName} {
		checkFile(t, filepath.Join(db.dir, name))
	}
}

func checkFile(t testing.TB, path string) {
	t.Helper()
	if err := checkPages(path); err != nil {
		t.Errorf("checkPages: %v", err)
	}
	b, err := bolt.Open(path, fileMode, &bolt.Options{ReadOnly: true, Timeout: 10 * time.Second})
	if err != nil {
		t.Errorf("open %s: %v", path, err)
		return
	}
	defer b.Close()
	err = b.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("bbolt's check of %s: %v", path, err)
		}
		return checkRecords(tx)
	})
	if err != nil {
		t.Errorf("%s: %v", path, err)
	}
}

// checkRecords decodes every record of a file, which verifies its checksum.
func checkRecords(tx *bolt.Tx) error {
	decode := map[string]func(k, v []byte) error{
		string(metaBucket): func(_, v []byte) error {
			_, err := decodeHeader(v, fileKind(binary.LittleEndian.Uint32(v[12:])))
			return err
		},
		string(stateBucket): func(k, v []byte) error {
			_, err := decodeStateRecord(k, v)
			return err
		},
		string(logBucket): func(k, v []byte) error {
			rev, err := parseRevKey(k)
			if err != nil {
				return err
			}
			_, err = decodeLogRecord(rev, v)
			return err
		},
	}
	return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
		return b.ForEach(func(k, v []byte) error {
			if err := decode[string(name)](k, v); err != nil {
				return fmt.Errorf("bucket %s, key %q: %w", name, k, err)
			}
			return nil
		})
	})
}

// put writes a value and returns its revision.
func put(t testing.TB, db *DB, key, value string, expect int64) int64 {
	t.Helper()
	e, err := db.Apply(t.Context(), Op{Key: key, Value: []byte(value), Expect: expect})
	if err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
	return e.ModRev
}

// remove deletes a key and returns the revision of that.
func remove(t testing.TB, db *DB, key string, expect int64) int64 {
	t.Helper()
	e, err := db.Apply(t.Context(), Op{Key: key, Delete: true, Expect: expect})
	if err != nil {
		t.Fatalf("delete %q: %v", key, err)
	}
	return e.ModRev
}

func compact(t testing.TB, db *DB, rev int64) {
	t.Helper()
	if err := db.Compact(t.Context(), rev); err != nil {
		t.Fatalf("Compact(%d): %v", rev, err)
	}
}

// inFull returns an entry with its value, or with what became of it, wherever
// that is kept.
func inFull(e Entry) Entry {
	value, err := e.Load()
	if err != nil {
		value = []byte(err.Error())
	}
	e.Value, e.large = value, nil
	return e
}

// eventInFull is inFull for both values of an event.
func eventInFull(e Event) Event {
	e.Value, e.PrevValue = inFull(e.Current()).Value, inFull(e.Previous()).Value
	e.large, e.prevLarge = nil, nil
	return e
}

// dump returns all entries of a snapshot, with their values.
func dump(s Snapshot) []Entry {
	var out []Entry
	s.Ascend("", "", func(e Entry) bool {
		out = append(out, inFull(e))
		return true
	})
	return out
}

// eventually waits for cond, which must come true soon.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func wantErr(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

// diff is cmp.Diff, which takes its time over what is equal.
func diff(want, got any) string {
	if reflect.DeepEqual(want, got) {
		return ""
	}
	return cmp.Diff(want, got, cmpopts.IgnoreUnexported(Entry{}, Event{}))
}

func keyN(i int) string { return fmt.Sprintf("/k/%04d", i) }

// logRecords counts the records in log.db.
func logRecords(t testing.TB, db *DB) (n int) {
	t.Helper()
	err := db.files.log.View(func(tx *bolt.Tx) error {
		n = tx.Bucket(logBucket).Stats().KeyN
		return nil
	})
	if err != nil {
		t.Fatalf("View: %v", err)
	}
	return n
}
