package kv

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// bloated makes a closed database that has held far more than it does, and
// has something in both files.
func bloated(t *testing.T) (dir string, content []Entry, rev int64) {
	t.Helper()
	dir = t.TempDir()
	db := openTest(t, dir, Options{})
	value := strings.Repeat("v", 10_000)
	for round := range 3 {
		var revs [300]int64
		for i := range revs {
			revs[i] = put(t, db, keyN(i), value, 0)
		}
		compact(t, db, revs[len(revs)-1])
		for i, at := range revs {
			if round < 2 || i%10 != 0 {
				rev = remove(t, db, keyN(i), at)
			}
		}
	}
	content = dump(db.Snapshot())
	closeTest(t, db)
	return dir, content, rev
}

func TestShrink(t *testing.T) {
	dir, content, rev := bloated(t)
	report, err := Shrink(t.Context(), dir)
	if err != nil {
		t.Fatalf("Shrink: %v", err)
	}
	if report.Revision != rev || report.Keys != int64(len(content)) || report.Dropped == 0 {
		t.Errorf("report is %+v, want revision %d, %d keys and some dropped", report, rev, len(content))
	}
	live := int64(0)
	for _, e := range content {
		live += entryBytes(&e)
	}
	if after := report.After.Log + report.After.State; report.Before.Log+report.Before.State < 4*after || after < live || after > 3*live+1<<20 {
		t.Errorf("sizes are %+v and %+v, %d bytes are live", report.Before, report.After, live)
	}
	if names := readDir(t, dir); len(names) != 2 {
		t.Errorf("%d files are left, want 2", len(names))
	}
	wantSound(t, dir, rev)
	db := openTest(t, dir, Options{})
	if diff := diff(content, dump(db.Snapshot())); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
	_, err = db.Watch("", rev-1)
	wantErr(t, "Watch from before", err, ErrCompacted)
	if got := put(t, db, "/new", "x", 0); got != rev+1 {
		t.Errorf("the next write has revision %d, want %d", got, rev+1)
	}
}

func TestShrinkAgainChangesNothing(t *testing.T) {
	dir, content, rev := bloated(t)
	for range 2 {
		if _, err := Shrink(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
	}
	report, err := Shrink(t.Context(), dir)
	if err != nil || report.Before != report.After || report.Dropped != 0 {
		t.Errorf("a third Shrink: %+v, %v", report, err)
	}
	o := readOffline(t, dir)
	if o.Stats.Revision != rev || diff(content, dump(o.Snapshot)) != "" {
		t.Errorf("after it: %+v", o.Stats)
	}
}

// TestShrinkCutShort copies the directory after each step, as a crash would
// leave it: each copy opens with everything, and can be shrunk.
func TestShrinkCutShort(t *testing.T) {
	dir, content, rev := bloated(t)
	copies := map[string]map[string][]byte{}
	s := &shrink{dir: dir, freeBytes: freeBytes, step: func(name string) { copies[name] = readDir(t, dir) }}
	if _, err := s.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(copies) != 3 {
		t.Fatalf("steps are %d, want 3", len(copies))
	}
	for name, files := range copies {
		for _, shrinkFirst := range []bool{false, true} {
			t.Run(name+map[bool]string{false: ", then open", true: ", then shrink"}[shrinkFirst], func(t *testing.T) {
				crashed := writeDir(t, files)
				wantSound(t, crashed, rev)
				if shrinkFirst {
					if _, err := Shrink(t.Context(), crashed); err != nil {
						t.Fatal(err)
					}
				}
				db := openTest(t, crashed, Options{})
				if diff := diff(content, dump(db.Snapshot())); diff != "" {
					t.Errorf("content (-want +got):\n%s", diff)
				}
				if left := readDir(t, crashed); len(left) != 2 {
					t.Errorf("%d files are left, want 2", len(left))
				}
				if got := put(t, db, "/new", "x", 0); got != rev+1 {
					t.Errorf("the next write has revision %d, want %d", got, rev+1)
				}
			})
		}
	}
}

func TestShrinkRefuses(t *testing.T) {
	dir, _, rev := bloated(t)
	before := readDir(t, dir)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Shrink(ended, dir)
	wantErr(t, "cancelled", err, context.Canceled)
	_, err = (&shrink{dir: dir, step: func(string) {}, freeBytes: func(string) (uint64, error) { return 1 << 20, nil }}).run(t.Context())
	wantErr(t, "no room", err, ErrNoSpace)
	if err != nil && !strings.Contains(err.Error(), dir) {
		t.Errorf("error %q does not name %s", err, dir)
	}
	sameFiles(t, before, readDir(t, dir))

	empty := t.TempDir()
	_, err = Shrink(t.Context(), empty)
	wantErr(t, "no database", err, os.ErrNotExist)
	if left := readDir(t, empty); len(left) > 0 {
		t.Errorf("Shrink made a database of an empty directory: %v", left)
	}

	db := openTest(t, dir, Options{})
	_, err = Shrink(t.Context(), dir)
	wantErr(t, "open database", err, ErrLocked)
	closeTest(t, db)

	before = readDir(t, dir)
	editFile(t, filepath.Join(dir, stateName), flip(int(statePageSize)+pageHead+50))
	damaged := readDir(t, dir)
	_, err = Shrink(t.Context(), dir)
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("damaged: %v", err)
	}
	sameFiles(t, damaged, readDir(t, dir))
	wantSound(t, writeDir(t, before), rev)
}
