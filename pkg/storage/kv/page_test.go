package kv

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// TestFlippedBytes flips single bits anywhere in the pages in use: Open either
// refuses and changes nothing, or the bit did not matter and all content is there.
func TestFlippedBytes(t *testing.T) {
	dir, content := sample(t)
	whole := readDir(t, dir)
	rnd := rand.New(rand.NewPCG(1, 2))
	const flips = 400
	refused := 0
	for i := range flips {
		name := []string{logName, stateName}[i%2]
		files := maps.Clone(whole)
		files[name] = bytes.Clone(whole[name])
		at := offsetInUse(t, rnd, filepath.Join(dir, name))
		files[name][at] ^= 1 << rnd.IntN(8)
		damaged := writeDir(t, files)
		db, err := Open(damaged, Options{})
		if err != nil {
			refused++
			sameFiles(t, files, readDir(t, damaged))
			continue
		}
		if diff := diff(content, dump(db.Snapshot())); diff != "" {
			t.Errorf("byte %d of %s: opened with other content (-want +got):\n%s", at, name, diff)
		}
		if err := db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if refused < flips/20 { // most bits of a page are free space: how many depends on the timing of commits
		t.Errorf("only %d of %d flips were found", refused, flips)
	}
}

// offsetInUse picks a byte of a page that the tree of a file is made of.
func offsetInUse(t *testing.T, rnd *rand.Rand, path string) int64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := &pageCheck{file: f, size: fileSize(path)}
	if err := c.run(); err != nil {
		t.Fatal(err)
	}
	for {
		page := rnd.Uint64N(c.meta.pages)
		if c.seen[page/64]&(1<<(page%64)) != 0 {
			return int64(page*c.meta.pageSize + rnd.Uint64N(c.meta.pageSize))
		}
	}
}

// bigFile makes a file with a tree of some depth, values with overflow pages,
// nested buckets and, if wanted, a list of free pages.
func bigFile(t testing.TB, freelist bool) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "big.db")
	b, err := bolt.Open(path, fileMode, &bolt.Options{NoFreelistSync: !freelist, PageSize: minPageSize})
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		err := b.Update(func(tx *bolt.Tx) error {
			top, err := tx.CreateBucketIfNotExists([]byte("top"))
			if err != nil {
				return err
			}
			nested, err := top.CreateBucketIfNotExists([]byte("nested"))
			if err != nil {
				return err
			}
			for i := round; i < 600; i += round + 1 {
				size := 10
				if i%50 == 0 {
					size = 5000
				}
				if err := nested.Put([]byte(keyN(i)), make([]byte, size)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCheckPagesAccepts(t *testing.T) {
	for _, freelist := range []bool{false, true} {
		if err := checkPages(bigFile(t, freelist)); err != nil {
			t.Errorf("freelist %v: %v", freelist, err)
		}
	}
}

// TestCheckPagesDamage overwrites parts of pages with noise. The check must
// end, without a panic, in nil or in ErrCorrupt; and what it accepts bbolt must be
// able to walk.
func TestCheckPagesDamage(t *testing.T) {
	for _, freelist := range []bool{false, true} {
		good, err := os.ReadFile(bigFile(t, freelist))
		if err != nil {
			t.Fatal(err)
		}
		rnd := rand.New(rand.NewPCG(3, 4))
		path := filepath.Join(t.TempDir(), "bad.db")
		refused := 0
		for range 1000 {
			bad := append([]byte{}, good...)
			page := (2 + rnd.IntN(len(bad)/minPageSize-2)) * minPageSize
			at := page + rnd.IntN(pageHead+8*elementSize)
			bad[at] = byte(rnd.Uint32())
			if err := os.WriteFile(path, bad, fileMode); err != nil {
				t.Fatal(err)
			}
			if err := checkPages(path); err != nil {
				refused++
				wantErr(t, "checkPages", err, ErrCorrupt)
				continue
			}
			walkBolt(t, path, at)
		}
		if refused < 100 {
			t.Errorf("freelist %v: only %d of 1000 damages were found", freelist, refused)
		}
	}
}

func walkBolt(t *testing.T, path string, at int) {
	t.Helper()
	b, err := openBolt(path, 0)
	if err != nil {
		t.Fatalf("byte %d: %v", at, err)
	}
	err = b.View(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("top")).Bucket([]byte("nested")).ForEach(func(_, _ []byte) error { return nil })
	})
	if err != nil {
		t.Errorf("byte %d: %v", at, err)
	}
	if err := b.Close(); err != nil {
		t.Errorf("byte %d: %v", at, err)
	}
}
