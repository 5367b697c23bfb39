package kv

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestTags keeps the index equal to a search through everything: at the newest
// revision, at old ones, after compactions and after restarts.
func TestTags(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, dir, Options{})
	rnd := rand.New(rand.NewPCG(1, 2))
	for round := range 40 {
		for range 50 {
			writeTagged(t, db, rnd)
		}
		wantIndex(t, db.Snapshot())
		if rev := db.Snapshot().Revision(); rev > 30 {
			old, err := db.SnapshotAt(t.Context(), rev-rnd.Int64N(30))
			if err != nil {
				t.Fatal(err)
			}
			wantIndex(t, old)
		}
		switch round % 8 {
		case 3:
			compact(t, db, db.Snapshot().Revision()-40)
		case 7:
			closeTest(t, db)
			db = openTest(t, dir, Options{})
			wantIndex(t, db.Snapshot())
		}
	}
}

const tagKinds = 6

// testTag is one of tagKinds tags, all of which but the first are searchable.
func testTag(i uint64) uint64 {
	if i == 0 {
		return 7
	}
	return Searchable | i<<60
}

// writeTagged writes or deletes one of a few keys with up to three tags.
func writeTagged(t *testing.T, db *DB, rnd *rand.Rand) {
	t.Helper()
	key := fmt.Sprintf("/%c/%02d", 'a'+rnd.IntN(2), rnd.IntN(20))
	var tags []uint64
	for range rnd.IntN(4) {
		tags = append(tags, testTag(rnd.Uint64N(tagKinds)))
	}
	slices.Sort(tags)
	old, exists := db.Snapshot().Get(key)
	op := Op{Key: key, Value: []byte("v"), Tags: slices.Compact(tags), Expect: old.ModRev, Delete: exists && rnd.IntN(3) == 0}
	if _, err := db.Apply(t.Context(), op); err != nil {
		t.Fatal(err)
	}
}

// wantIndex compares AscendTag with what Ascend finds, and sees that the index holds nothing else.
func wantIndex(t *testing.T, s Snapshot) {
	t.Helper()
	total := 0
	for i := range uint64(tagKinds) {
		tag := testTag(i)
		for _, prefix := range []string{"", "/a/", "/b/", "/c/"} {
			from := "/b/07"
			var want, got []string
			s.Ascend(prefix, from, func(e Entry) bool {
				if tag&Searchable != 0 && slices.Contains(e.Tags, tag) {
					want = append(want, e.Key)
				}
				return true
			})
			s.AscendTag(tag, prefix, from, func(e Entry) bool {
				got = append(got, e.Key)
				return true
			})
			if diff := diff(want, got); diff != "" {
				t.Fatalf("revision %d, tag %x, prefix %q (-search +index):\n%s", s.Revision(), tag, prefix, diff)
			}
		}
		s.Ascend("", "", func(e Entry) bool {
			if tag&Searchable != 0 && slices.Contains(e.Tags, tag) {
				total++
			}
			return true
		})
	}
	if got := s.tree.tags.Len(); got != total {
		t.Errorf("the index has %d items, the entries %d tags", got, total)
	}
}

func TestTagsRefused(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	for name, tags := range map[string][]uint64{"descending": {2, 1}, "twice": {1, 1}} {
		if _, err := db.Apply(t.Context(), Op{Key: "a", Tags: tags}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	many := make([]uint64, MaxTags+1)
	for i := range many {
		many[i] = uint64(i)
	}
	if _, err := db.Apply(t.Context(), Op{Key: "a", Tags: many}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too many tags: %v, want ErrTooLarge", err)
	}
	if _, err := db.Apply(t.Context(), Op{Key: "a", Tags: many[1:]}); err != nil {
		t.Errorf("as many tags as allowed: %v", err)
	}
	if rev := db.Snapshot().Revision(); rev != 2 {
		t.Errorf("revision is %d, want 2: what is refused must not take one", rev)
	}
}
