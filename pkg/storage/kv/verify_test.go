package kv

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// wantSound fails if Verify finds anything, or another revision.
func wantSound(t *testing.T, dir string, rev int64) {
	t.Helper()
	report, err := Verify(t.Context(), dir, VerifyOptions{})
	if err != nil || len(report.Problems) > 0 || report.Partial || report.Revision != rev {
		t.Errorf("Verify: %v, %+v, want no problem at revision %d", err, report, rev)
	}
}

// wantProblem returns the problem that says all the words.
func wantProblem(t *testing.T, dir string, words ...string) Problem {
	t.Helper()
	report, err := Verify(t.Context(), dir, VerifyOptions{})
	if err != nil {
		t.Errorf("Verify: %v", err)
	}
	for _, p := range report.Problems {
		if p.Meaning == "" {
			t.Errorf("%s: it is not said what that means", p)
		}
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(p.String(), word) }) {
			return p
		}
	}
	t.Errorf("no problem says %q: %v", words, report.Problems)
	return Problem{}
}

func TestVerifySound(t *testing.T) {
	dir, content := sample(t)
	before := readDir(t, dir)
	report, err := Verify(t.Context(), dir, VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o := readOffline(t, dir)
	if len(report.Problems) > 0 || report.Keys != int64(len(content)) || report.Revision != o.Stats.Revision ||
		report.CompactedRevision != 300 || report.LogRecords != report.Revision-300 || report.StateRecords == 0 ||
		report.LogPages < 4 || report.StatePages < 4 {
		t.Errorf("report is %+v, the database has %d keys and %+v", report, len(content), o.Stats)
	}
	sameFiles(t, before, readDir(t, dir))
}

// TestVerifyAgreesWithOpen damages a database in all the ways that Open is
// tested with. Verify finds each, names the same file and place, and writes nothing.
func TestVerifyAgreesWithOpen(t *testing.T) {
	dir, _ := sample(t)
	whole := readDir(t, dir)
	for _, tt := range append(fileRefusals(), recordRefusals()...) {
		t.Run(tt.name, func(t *testing.T) {
			dir := writeDir(t, whole)
			tt.damage(t, filepath.Join(dir, logName), filepath.Join(dir, stateName))
			before := readDir(t, dir)
			wantProblem(t, dir, tt.file, tt.where)
			sameFiles(t, before, readDir(t, dir))
		})
	}
}

// TestVerifyFlippedBytes flips single bits anywhere in the pages in use. Verify
// finds a problem exactly if Open refuses the file.
func TestVerifyFlippedBytes(t *testing.T) {
	dir, _ := sample(t)
	whole := readDir(t, dir)
	rnd := rand.New(rand.NewPCG(5, 6))
	const flips = 300
	found := 0
	for i := range flips {
		name := []string{logName, stateName}[i%2]
		files := maps.Clone(whole)
		files[name] = bytes.Clone(whole[name])
		at := offsetInUse(t, rnd, filepath.Join(dir, name))
		files[name][at] ^= 1 << rnd.IntN(8)
		damaged := writeDir(t, files)
		report, err := Verify(t.Context(), damaged, VerifyOptions{})
		if err != nil {
			t.Fatalf("byte %d of %s: Verify: %v", at, name, err)
		}
		sameFiles(t, files, readDir(t, damaged))
		db, err := Open(damaged, Options{})
		if err == nil {
			if err := db.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		if (err != nil) != (len(report.Problems) > 0) {
			t.Errorf("byte %d of %s: Open says %v, Verify %v", at, name, err, report.Problems)
		}
		if len(report.Problems) > 0 {
			found++
			if !strings.HasSuffix(report.Problems[0].File, name) {
				t.Errorf("byte %d of %s: the problem is of another file: %v", at, name, report.Problems)
			}
		}
	}
	if found < flips/20 { // as in TestFlippedBytes
		t.Errorf("only %d of %d flips were found", found, flips)
	}
}

// TestVerifyFindsAll damages several things at once.
func TestVerifyFindsAll(t *testing.T) {
	dir, _ := sample(t)
	log, state := filepath.Join(dir, logName), filepath.Join(dir, stateName)
	editValue(t, log, logBucket, revKey(350), flip(recordHead+3))
	editValue(t, log, logBucket, revKey(360), flip(recordHead+3))
	edit(t, log, func(tx *bolt.Tx) error { return tx.Bucket(logBucket).Delete(revKey(380)) })
	editValue(t, state, stateBucket, []byte(keyN(1)), flip(recordHead))
	for _, words := range [][]string{
		{logName, "revision 350", "checksum"}, {logName, "revision 360", "checksum"},
		{logName, "revision 381", "revisions 380 to 380 are missing"}, {stateName, keyN(1), "checksum"},
	} {
		if p := wantProblem(t, dir, words...); p.Page == 0 {
			t.Errorf("%s: without a page", p)
		}
	}
	report, err := Verify(t.Context(), dir, VerifyOptions{})
	if err != nil || len(report.Problems) != 4 || !report.Partial || report.More {
		t.Errorf("%d problems, want 4, and a partial report: %+v, %v", len(report.Problems), report, err)
	}
	report, err = Verify(t.Context(), dir, VerifyOptions{MaxProblems: 2})
	if err != nil || len(report.Problems) != 2 || !report.More {
		t.Errorf("%d problems, want 2 and that there are more: %v", len(report.Problems), err)
	}
}

// TestVerifyGoesOnBesideABadPage damages two leaf pages: both are named.
func TestVerifyGoesOnBesideABadPage(t *testing.T) {
	dir, _ := sample(t)
	path := filepath.Join(dir, stateName)
	leaves := leavesOf(t, path)
	if len(leaves) < 3 {
		t.Fatalf("only %d leaf pages", len(leaves))
	}
	for _, page := range leaves[:2] {
		editFile(t, path, flip(int(page)*statePageSize+8)) // the type of the page
	}
	report, err := Verify(t.Context(), dir, VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var pages []uint64
	for _, p := range report.Problems {
		pages = append(pages, p.Page)
	}
	if !slices.Equal(pages, leaves[:2]) {
		t.Errorf("problems are of pages %d, want %d: %v", pages, leaves[:2], report.Problems)
	}
}

// leavesOf returns the pages of the bucket of a state file, in order.
func leavesOf(t *testing.T, path string) (pages []uint64) {
	t.Helper()
	c := &pageCheck{visit: func(page uint64, bucket string, key, _ []byte) {
		if bucket == string(stateBucket) && key != nil && !slices.Contains(pages, page) {
			pages = append(pages, page)
		}
	}}
	if err := c.check(path); err != nil {
		t.Fatal(err)
	}
	return pages
}

// TestVerifyOldHistory damages an entry that is compacted and not yet removed:
// the server does not mind, but the disk may be failing.
func TestVerifyOldHistory(t *testing.T) {
	dir, _ := sample(t)
	path := filepath.Join(dir, logName)
	edit(t, path, func(tx *bolt.Tx) error {
		return tx.Bucket(logBucket).Put(revKey(300), flip(recordHead)(appendLogRecord(nil, 300, record{}, nil)))
	})
	if p := wantProblem(t, dir, "revision 300"); p.Meaning != meansOld {
		t.Errorf("the meaning is %q, want %q", p.Meaning, meansOld)
	}
	db, err := Open(dir, Options{})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

func TestVerifyCannot(t *testing.T) {
	_, err := Verify(t.Context(), filepath.Join(t.TempDir(), "none"), VerifyOptions{})
	wantErr(t, "no directory", err, os.ErrNotExist)
	empty := t.TempDir()
	_, err = Verify(t.Context(), empty, VerifyOptions{})
	wantErr(t, "empty directory", err, os.ErrNotExist)
	if left := readDir(t, empty); len(left) > 0 {
		t.Errorf("Verify left something behind: %v", left)
	}
	dir := t.TempDir()
	db := openTest(t, dir, Options{})
	for what, call := range map[string]func() error{
		"Verify":      func() error { _, err := Verify(t.Context(), dir, VerifyOptions{}); return err },
		"ReadOffline": func() error { _, err := ReadOffline(dir); return err },
	} {
		err := call()
		wantErr(t, what+" of an open database", err, ErrLocked)
		if err != nil && !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: error %q does not name %s", what, err, dir)
		}
	}
	closeTest(t, db)

	unlock, err := shareDir(dir) // as another reader does
	if err != nil {
		t.Fatal(err)
	}
	wantSound(t, dir, 1)
	_, err = Open(dir, Options{})
	wantErr(t, "Open beside a reader", err, ErrLocked)
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
}

// readOffline reads a database, and gives it back at the end of the test.
func readOffline(t testing.TB, dir string) Offline {
	t.Helper()
	o, err := ReadOffline(dir)
	if err != nil {
		t.Fatalf("ReadOffline: %v", err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return o
}

func TestReadOffline(t *testing.T) {
	dir, content := sample(t)
	before := readDir(t, dir)
	o := readOffline(t, dir)
	if diff := diff(content, dump(o.Snapshot)); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
	if o.Stats.LogFileBytes != int64(len(before[logName])) || o.LogFreeBytes < 0 || o.LogFreeBytes >= o.Stats.LogFileBytes {
		t.Errorf("%+v does not fit files of %d bytes", o, len(before[logName]))
	}
	var out bytes.Buffer
	info, err := o.Backup(t.Context(), &out, nil)
	if err != nil || info.Revision != o.Stats.Revision || info.DatabaseID != o.DatabaseID {
		t.Errorf("Backup: %+v, %v", info, err)
	}
	sameFiles(t, before, readDir(t, dir))

	editFile(t, filepath.Join(dir, logName), func(b []byte) []byte { return b[:100] })
	if _, err = ReadOffline(dir); !errors.Is(err, ErrCorrupt) {
		t.Errorf("damaged: %v", err)
	}
}

func TestUsage(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	for _, key := range []string{"/r/g/pools/ns/a", "/r/g/pools/ns/b", "/r/g/tasks/ns/a", "/r/g/tasks", "/short", "none"} {
		put(t, db, key, "12345", 0)
	}
	want := []Usage{
		{"/r/g/pools/", 2, 30, 10}, {"/r/g/tasks", 1, 10, 5}, {"/r/g/tasks/", 1, 15, 5}, {"/short", 1, 6, 5}, {"none", 1, 4, 5},
	}
	if diff := diff(want, db.Snapshot().Usage(3)); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
}
