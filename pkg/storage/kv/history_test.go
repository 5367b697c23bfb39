package kv

import (
	"context"
	"sync"
	"testing"
)

func TestSnapshotAtBounds(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	rev := put(t, db, "a", "1", 0)
	rev = put(t, db, "a", "2", rev)
	compact(t, db, rev-1)
	tests := []struct {
		name  string
		rev   int64
		want  error
		value string
	}{
		{"below the compacted", rev - 2, ErrCompacted, ""},
		{"the compacted", rev - 1, nil, "1"},
		{"the newest", rev, nil, "2"},
		{"above the newest", rev + 1, ErrFutureRevision, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := db.SnapshotAt(t.Context(), tt.rev)
			wantErr(t, "SnapshotAt", err, tt.want)
			if err != nil {
				return
			}
			if e, _ := s.Get("a"); string(e.Value) != tt.value || s.Revision() != tt.rev {
				t.Errorf("got %q at %d, want %q at %d", e.Value, s.Revision(), tt.value, tt.rev)
			}
		})
	}
}

// TestSnapshotAtCache checks that the pages of a list share one derivation,
// that no more are kept than allowed, and that compaction ends them.
func TestSnapshotAtCache(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	fill(t, db, 100)
	at := func(rev int64) Snapshot {
		t.Helper()
		s, err := db.SnapshotAt(t.Context(), rev)
		if err != nil {
			t.Fatalf("SnapshotAt(%d): %v", rev, err)
		}
		return s
	}
	page1 := at(50)
	if page2 := at(50); page1.tree != page2.tree {
		t.Error("the second page derived the revision anew")
	}
	for rev := int64(60); rev < 60+historyCached; rev++ {
		at(rev)
	}
	if n := len(db.history.cached); n != historyCached {
		t.Errorf("%d revisions are kept, want %d", n, historyCached)
	}
	if again := at(50); again.tree == page1.tree {
		t.Error("the revision that was not asked for lately was kept")
	}
	compact(t, db, 80)
	if n := len(db.history.cached); n != 0 {
		t.Errorf("%d revisions are kept after compaction, want none", n)
	}
	_, err := db.SnapshotAt(t.Context(), 50)
	wantErr(t, "SnapshotAt", err, ErrCompacted)
	if n := page1.Count(""); n != 49 {
		t.Errorf("the snapshot that is held has %d keys, want 49", n)
	}
}

func TestSnapshotAtContext(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	fill(t, db, 2*undoCheck)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := db.SnapshotAt(ctx, 2)
	wantErr(t, "SnapshotAt", err, context.Canceled)
	db.history.turn <- struct{}{} // another derivation goes on
	defer func() { <-db.history.turn }()
	_, err = db.SnapshotAt(ctx, 2)
	wantErr(t, "SnapshotAt", err, context.Canceled)
}

// TestSnapshotAtConcurrent reads old revisions while writers go on. Each
// write creates a key, so the revision tells the number of keys.
func TestSnapshotAtConcurrent(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	var wg sync.WaitGroup
	wg.Go(func() { fill(t, db, 2000) })
	for i := range 4 {
		wg.Go(func() {
			for rev := int64(2 + i); rev < 2000; rev += 97 {
				if err := db.WaitRevision(t.Context(), rev); err != nil {
					t.Errorf("WaitRevision: %v", err)
					return
				}
				s, err := db.SnapshotAt(t.Context(), rev)
				if n := int64(0); err != nil {
					t.Errorf("SnapshotAt(%d): %v", rev, err)
				} else if s.Ascend("", "", func(Entry) bool { n++; return true }); n != rev-1 {
					t.Errorf("%d keys at revision %d", n, rev)
				}
			}
		})
	}
	wg.Wait()
}
