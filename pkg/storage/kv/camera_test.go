package kv

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"

	bolt "go.etcd.io/bbolt"
)

// camera takes pictures of the files of a database, now and then, right before
// and right after a commit: what a process leaves that is killed there.
type camera struct {
	// mu keeps the two files from being written to while a picture is taken.
	mu      sync.Mutex
	rnd     *rand.Rand
	taken   []picture
	failure error
}

// picture is a copy of both files.
type picture struct {
	files map[string][]byte
	// rev is the revision that must be found in it.
	rev int64
	// moment is when it was taken, for messages.
	moment string
}

// watch has the camera look at the commits of db, which nobody uses yet.
func (c *camera) watch(db *DB) {
	db.commit = func(tx *bolt.Tx) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		name := filepath.Base(tx.DB().Path())
		before, after := c.rnd.IntN(80) == 0, c.rnd.IntN(80) == 0
		rev := db.root.Load().rev
		if before {
			c.shoot(db, rev, "before a commit of "+name)
		}
		if key, _ := lastOf(tx, name); key != nil {
			rev = max(rev, int64(binary.BigEndian.Uint64(key)))
		}
		err := tx.Commit()
		if after {
			c.shoot(db, rev, "after a commit of "+name)
		}
		return err
	}
}

func lastOf(tx *bolt.Tx, name string) (key, value []byte) {
	if name != logName {
		return nil, nil
	}
	// Forward, because Cursor.Last goes round for ever in a transaction that has
	// emptied all pages of a bucket.
	c := tx.Bucket(logBucket).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		key, value = k, v
	}
	return key, value
}

func (c *camera) shoot(db *DB, rev int64, moment string) {
	p := picture{files: map[string][]byte{}, rev: rev, moment: moment}
	for name, b := range map[string]*bolt.DB{logName: db.files.log, stateName: db.files.state} {
		copied, err := copyUsed(b)
		if err != nil {
			c.failure = err
			return
		}
		p.files[name] = copied
	}
	c.taken = append(c.taken, p)
}

// copyUsed copies the part of a file that is in use.
func copyUsed(b *bolt.DB) ([]byte, error) {
	used, err := usedBytes(b)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(b.Path())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, used))
}

// develop opens the pictures taken during the last step. Each must hold just
// what was committed.
func (w *walk) develop() {
	w.Helper()
	w.camera.mu.Lock()
	taken, err := w.camera.taken, w.camera.failure
	w.camera.taken = nil
	w.camera.mu.Unlock()
	if err != nil {
		w.Fatalf("copying the files: %v", err)
	}
	for _, p := range taken {
		dir := writeDir(w, p.files)
		db, err := Open(dir, Options{})
		if err != nil {
			w.Fatalf("files taken %s: %v", p.moment, err)
		}
		s := db.Snapshot()
		if s.Revision() != p.rev {
			w.Fatalf("files taken %s hold revision %d, want %d", p.moment, s.Revision(), p.rev)
		}
		w.compare(s, w.m.states[p.rev])
		put(w, db, "after the crash", "1", 0)
		closeTest(w, db)
		if err := os.RemoveAll(dir); err != nil {
			w.Fatal(err)
		}
	}
}
