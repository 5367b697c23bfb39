package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// sample makes a closed database with keys in both of its files, and returns
// the directory and the content.
func sample(t testing.TB) (dir string, content []Entry) {
	t.Helper()
	dir, m := t.TempDir(), newModel()
	db := openTest(t, dir, Options{})
	churn(t, m, db)
	compact(t, db, 300)
	eventually(t, "log is trimmed", func() bool { return logRecords(t, db) == int(m.rev)-300 })
	content = dump(db.Snapshot())
	closeTest(t, db)
	for _, name := range []string{logName, stateName} { // to be quick to copy
		path := filepath.Join(dir, name)
		editFile(t, path, func(b []byte) []byte { return b[:usedOf(t, path)] })
	}
	return dir, content
}

// usedOf is usedBytes of a closed file.
func usedOf(t testing.TB, path string) int64 {
	t.Helper()
	b, err := openBolt(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := usedBytes(b)
	if err := errors.Join(err, b.Close()); err != nil {
		t.Fatal(err)
	}
	return n
}

// writeDir writes files into a new directory.
func writeDir(t testing.TB, files map[string][]byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, fileMode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// edit changes a closed file through bbolt.
func edit(t testing.TB, path string, fn func(tx *bolt.Tx) error) {
	t.Helper()
	b, err := openBolt(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Update(fn); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

// editValue lets change change the value of a key.
func editValue(t testing.TB, path string, bucket, key []byte, change func(v []byte) []byte) {
	t.Helper()
	edit(t, path, func(tx *bolt.Tx) error {
		b := tx.Bucket(bucket)
		return b.Put(key, change(bytes.Clone(b.Get(key))))
	})
}

func flip(at int) func([]byte) []byte {
	return func(v []byte) []byte {
		v[at] ^= 0x40
		return v
	}
}

// reseal sets a byte and makes the checksum over prefix and value right again.
func reseal(at int, to byte, prefix []byte) func([]byte) []byte {
	return func(v []byte) []byte {
		v[at] = to
		body := v[:len(v)-recordCRC]
		sum := crc32.Update(crc32.Checksum(prefix, castagnoli), castagnoli, body)
		return binary.LittleEndian.AppendUint32(body, sum)
	}
}

func editFile(t testing.TB, path string, fn func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, fn(b), fileMode); err != nil {
		t.Fatal(err)
	}
}

type refusal struct {
	name   string
	damage func(t *testing.T, log, state string)
	want   error
	// file and where must be in the message.
	file, where string
}

func fileRefusals() []refusal {
	return []refusal{
		{"log is empty", func(t *testing.T, log, _ string) { editFile(t, log, func([]byte) []byte { return nil }) }, ErrCorrupt, logName, "empty"},
		{"state is empty", func(t *testing.T, _, state string) { editFile(t, state, func([]byte) []byte { return nil }) }, ErrCorrupt, stateName, "empty"},
		{"log is a text", func(t *testing.T, log, _ string) {
			editFile(t, log, func([]byte) []byte { return []byte("# notes\nbuy milk\n") })
		}, ErrFormat, logName, "not a bbolt database"},
		{"log is a long text", func(t *testing.T, log, _ string) {
			editFile(t, log, func([]byte) []byte { return bytes.Repeat([]byte("milk\n"), 1e5) })
		}, ErrFormat, logName, "not a bbolt database"},
		{"log is cut in half", func(t *testing.T, log, _ string) {
			editFile(t, log, func(b []byte) []byte { return b[:5*logPageSize] })
		}, ErrCorrupt, logName, "truncated"},
		{"state is cut within the first page", func(t *testing.T, _, state string) {
			editFile(t, state, func(b []byte) []byte { return b[:100] })
		}, ErrCorrupt, stateName, "page 1"},
		{"state is cut within its second page", func(t *testing.T, _, state string) {
			editFile(t, state, func(b []byte) []byte { return b[:statePageSize+20] })
		}, ErrCorrupt, stateName, "page 1"},
		{"first meta page is damaged", func(t *testing.T, log, _ string) { editFile(t, log, flip(pageHead+48)) }, ErrCorrupt, logName, "page 0"},
		{"first meta page is gone", func(t *testing.T, log, _ string) {
			editFile(t, log, func(b []byte) []byte { return append(make([]byte, logPageSize), b[logPageSize:]...) })
		}, ErrCorrupt, logName, "page 0"},
		{"second meta page is damaged", func(t *testing.T, log, _ string) {
			editFile(t, log, flip(logPageSize+pageHead+48))
		}, ErrCorrupt, logName, "page 1"},
		{"another program's bbolt file", func(t *testing.T, log, _ string) {
			edit(t, log, func(tx *bolt.Tx) error { return tx.DeleteBucket(metaBucket) })
		}, ErrFormat, logName, "not a database of this program"},
		{"files are swapped", func(t *testing.T, log, state string) {
			for _, mv := range [][2]string{{log, log + "x"}, {state, log}, {log + "x", state}} {
				if err := os.Rename(mv[0], mv[1]); err != nil {
					t.Fatal(err)
				}
			}
		}, ErrFormat, logName, "wrong name"},
		{"log is missing", func(t *testing.T, log, _ string) { mustRemove(t, log) }, ErrCorrupt, logName, "is missing"},
		{"state is missing", func(t *testing.T, _, state string) { mustRemove(t, state) }, ErrCorrupt, stateName, "is missing"},
		{"state of another database", func(t *testing.T, _, state string) {
			dir, _ := sample(t)
			mustRemove(t, state)
			if err := os.Rename(filepath.Join(dir, stateName), state); err != nil {
				t.Fatal(err)
			}
		}, ErrCorrupt, stateName, "different databases"},
	}
}

func mustRemove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func recordRefusals() []refusal {
	logValue := func(rev int64, change func([]byte) []byte) func(*testing.T, string, string) {
		return func(t *testing.T, log, _ string) { editValue(t, log, logBucket, revKey(rev), change) }
	}
	stateValue := func(bucket, key []byte, change func([]byte) []byte) func(*testing.T, string, string) {
		return func(t *testing.T, _, state string) { editValue(t, state, bucket, key, change) }
	}
	key := []byte(keyN(1))
	return []refusal{
		{"log record is damaged", logValue(350, flip(recordHead+3)), ErrCorrupt, logName, "revision 350"},
		{"log record is cut short", logValue(350, func(v []byte) []byte { return v[:20] }), ErrCorrupt, logName, "revision 350"},
		{"log record of another version", logValue(350, reseal(0, 9, revKey(350))), ErrFormat, logName, "version 9"},
		{"log record with more tags than fit", logValue(350, reseal(2, 60, revKey(350))), ErrCorrupt, logName, "60 tags"},
		{"log record with an unknown operation", logValue(350, reseal(1, 9, revKey(350))), ErrCorrupt, logName, "revision 350"},
		{"log record does not follow", logValue(350, reseal(16, 0xee, revKey(350))), ErrCorrupt, logName, "revision 350"},
		{"log record is missing", func(t *testing.T, log, _ string) {
			edit(t, log, func(tx *bolt.Tx) error { return tx.Bucket(logBucket).Delete(revKey(350)) })
		}, ErrCorrupt, logName, "revisions 350 to 350 are missing"},
		{"log begins too late", func(t *testing.T, log, _ string) {
			edit(t, log, func(tx *bolt.Tx) error { return tx.Bucket(logBucket).Delete(revKey(301)) })
		}, ErrCorrupt, logName, "revisions 301 to 301 are missing"},
		{"log key is no revision", func(t *testing.T, log, _ string) {
			edit(t, log, func(tx *bolt.Tx) error { return tx.Bucket(logBucket).Put([]byte("x"), []byte("y")) })
		}, ErrCorrupt, logName, "log key 78"},
		{"log bucket is missing", func(t *testing.T, log, _ string) {
			edit(t, log, func(tx *bolt.Tx) error { return tx.DeleteBucket(logBucket) })
		}, ErrCorrupt, logName, "bucket \"log\""},
		{"header of another version", func(t *testing.T, log, _ string) {
			editValue(t, log, metaBucket, headerKey, reseal(8, 2, nil))
		}, ErrFormat, logName, "format version is 2"},
		{"header is damaged", stateValue(metaBucket, headerKey, flip(33)), ErrCorrupt, stateName, "header checksum"},
		{"state record is damaged", stateValue(stateBucket, key, flip(recordHead)), ErrCorrupt, stateName, keyN(1)},
		{"state record under another key", stateValue(stateBucket, key, func([]byte) []byte {
			return encodeStateRecord(&Entry{Key: keyN(2), CreateRev: 2, ModRev: 2}, nil)
		}), ErrCorrupt, stateName, keyN(1)},
		{"state record above the compacted revision", stateValue(stateBucket, key, func([]byte) []byte {
			return encodeStateRecord(&Entry{Key: keyN(1), CreateRev: 2, ModRev: 301}, nil)
		}), ErrCorrupt, stateName, keyN(1)},
		{"state is newer than the log", stateValue(metaBucket, headerKey, reseal(33, 9, nil)), ErrCorrupt, logName, "the log ends at revision"},
	}
}

// TestOpenRefuses checks that what is damaged, foreign or incomplete is
// named, and left as it is.
func TestOpenRefuses(t *testing.T) {
	whole, _ := sample(t)
	files := readDir(t, whole)
	for _, tt := range append(fileRefusals(), recordRefusals()...) {
		t.Run(tt.name, func(t *testing.T) {
			dir := writeDir(t, files)
			tt.damage(t, filepath.Join(dir, logName), filepath.Join(dir, stateName))
			before := readDir(t, dir)
			db, err := Open(dir, Options{})
			if err == nil {
				closeTest(t, db)
			}
			wantErr(t, "Open", err, tt.want)
			if msg := err.Error(); !strings.Contains(msg, filepath.Join(dir, tt.file)) || !strings.Contains(msg, tt.where) {
				t.Errorf("error %q does not name %s and %q", msg, tt.file, tt.where)
			}
			sameFiles(t, before, readDir(t, dir))
		})
	}
}

func readDir(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if out[f.Name()], err = os.ReadFile(filepath.Join(dir, f.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func sameFiles(t testing.TB, before, after map[string][]byte) {
	t.Helper()
	if len(before) != len(after) {
		t.Errorf("%d files before, %d after", len(before), len(after))
	}
	for name := range before {
		if !bytes.Equal(before[name], after[name]) {
			t.Errorf("%s was changed", name)
		}
	}
}

func TestOpenLocked(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, dir, Options{})
	_, err := Open(dir, Options{})
	wantErr(t, "second Open", err, ErrLocked)
	if !strings.Contains(err.Error(), dir) {
		t.Errorf("error %q does not name %s", err, dir)
	}
	closeTest(t, db)
	b, err := openBolt(filepath.Join(dir, logName), 0) // as bbolt's own tool would
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir, Options{})
	wantErr(t, "Open beside a tool", err, ErrLocked)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	closeTest(t, openTest(t, dir, Options{}))
}

func TestOpenBadDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, fileMode); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if _, err := Open(dir, Options{}); err == nil {
			t.Errorf("Open(%s) worked", dir)
		}
	}
}

func TestOpenCreatesDirectories(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "c")
	closeTest(t, openTest(t, dir, Options{}))
	info, err := os.Stat(filepath.Join(dir, stateName))
	if err != nil || info.Mode().Perm() != fileMode {
		t.Errorf("state file: %v, %v; want mode %o", info, err, fileMode)
	}
}

// TestCreateCrash opens what a crash during creation leaves at each step.
func TestCreateCrash(t *testing.T) {
	whole := t.TempDir()
	closeTest(t, openTest(t, whole, Options{}))
	made := readDir(t, whole)
	tests := []struct {
		name  string
		files map[string]string // name in the directory -> made file; "" for half a file
	}{
		{"half of the first file", map[string]string{logName + newSuffix: ""}},
		{"the first file", map[string]string{logName + newSuffix: logName}},
		{"half of the second file", map[string]string{logName + newSuffix: logName, stateName + newSuffix: ""}},
		{"no file named", map[string]string{logName + newSuffix: logName, stateName + newSuffix: stateName}},
		{"the log named", map[string]string{logName: logName, stateName + newSuffix: stateName}},
		{"the state named", map[string]string{logName + newSuffix: logName, stateName: stateName}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string][]byte{}
			for name, from := range tt.files {
				files[name] = made[from]
				if from == "" {
					files[name] = made[logName][:1000]
				}
			}
			dir := writeDir(t, files)
			db := openTest(t, dir, Options{})
			put(t, db, "a", "1", 0)
			closeTest(t, db)
			if got := readDir(t, dir); len(got) != 2 {
				t.Errorf("%d files are left, want 2", len(got))
			}
		})
	}
}

// TestCreateCrashForeign checks that a new file is not taken for the missing
// half of a database it does not belong to.
func TestCreateCrashForeign(t *testing.T) {
	dir, _ := sample(t)
	other, _ := sample(t)
	mustRemove(t, filepath.Join(dir, stateName))
	if err := os.Rename(filepath.Join(other, stateName), filepath.Join(dir, stateName+newSuffix)); err != nil {
		t.Fatal(err)
	}
	before := readDir(t, dir)
	_, err := Open(dir, Options{})
	wantErr(t, "Open", err, ErrCorrupt)
	sameFiles(t, before, readDir(t, dir))
}
