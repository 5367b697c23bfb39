package kv

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"math"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// "make test" runs the seeds of these targets. To look further:
//
//	go test -tags=netgo,osusergo -fuzz=FuzzLogRecord -fuzztime=10m ./pkg/storage/kv
//
// Each target can give its input the checksum that it should have: without that no
// change would ever get beyond the check of it.

// wantDamage fails unless err says that something is damaged or foreign.
func wantDamage(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFormat) {
		t.Errorf("error %v is neither ErrCorrupt nor ErrFormat", err)
	}
}

// sealed returns b with its last four bytes the checksum of prefix and the rest.
func sealed(b, prefix []byte) []byte {
	if len(b) < recordCRC {
		return b
	}
	body := bytes.Clone(b[:len(b)-recordCRC])
	sum := crc32.Update(crc32.Checksum(prefix, castagnoli), castagnoli, body)
	return binary.LittleEndian.AppendUint32(body, sum)
}

func FuzzLogRecord(f *testing.F) {
	old := &Entry{Key: "a", Value: []byte("old"), CreateRev: 2, ModRev: 2, Tags: []uint64{3}}
	cur := &Entry{Key: "a", Value: []byte("new"), CreateRev: 2, ModRev: 3, Expiry: 9, Tags: []uint64{1, math.MaxUint64}}
	for _, r := range []record{{}, {prev: old}, {prev: old, cur: cur}, {cur: &Entry{Key: "b", CreateRev: 3, ModRev: 3}}} {
		f.Add(int64(3), appendLogRecord(nil, 3, r, valueOf(r.cur)), false)
		f.Add(int64(3), appendLogRecord(nil, 4, r, valueOf(r.cur)), true)
	}
	f.Add(int64(0), []byte{}, true)
	f.Fuzz(func(t *testing.T, rev int64, b []byte, seal bool) {
		if seal {
			b = sealed(b, revKey(rev))
		}
		l := loader{files: &files{largeAbove: 8}, next: root{rev: 2, compacted: 2, tree: newTree(), log: window{first: 3}}}
		l.next.tree.replace(nil, old)
		if err := l.replay(rev, b); err != nil {
			wantDamage(t, err)
		} else if l.next.rev != rev || l.next.tree.len() > 2 {
			t.Errorf("replay led to revision %d with %d keys", l.next.rev, l.next.tree.len())
		}
		r, err := decodeLogRecord(rev, b)
		if err != nil {
			wantDamage(t, err)
			return
		}
		if r.op != opPut {
			return // other records may carry bytes that mean nothing
		}
		again := record{cur: &Entry{Key: string(r.key), CreateRev: r.createRev, Expiry: r.expiry, Tags: r.tags}}
		if r.prevRev != 0 {
			again.prev = &Entry{Key: string(r.key), ModRev: r.prevRev}
		}
		if got := appendLogRecord(nil, rev, again, r.value); !bytes.Equal(got, b) {
			t.Errorf("%x was decoded to what is encoded as %x", b, got)
		}
	})
}

func valueOf(e *Entry) []byte {
	if e == nil {
		return nil
	}
	return e.Value
}

func FuzzStateRecord(f *testing.F) {
	for _, e := range []*Entry{
		{Key: "a", CreateRev: 1, ModRev: 1},
		{Key: "b", Value: []byte("value"), CreateRev: 1, ModRev: 2, Expiry: 3, Tags: []uint64{1, 2}},
	} {
		f.Add([]byte(e.Key), encodeStateRecord(e, e.Value), false)
		f.Add([]byte("c"), encodeStateRecord(e, e.Value), true)
	}
	f.Fuzz(func(t *testing.T, key, b []byte, seal bool) {
		if seal {
			b = sealed(b, key)
		}
		r, err := decodeStateRecord(key, b)
		if err != nil {
			wantDamage(t, err)
			return
		}
		if b[1] != 0 || !bytes.Equal(b[4:8], make([]byte, 4)) {
			return // bytes that mean nothing
		}
		e := &Entry{Key: string(key), CreateRev: r.createRev, ModRev: r.modRev, Expiry: r.expiry, Tags: r.tags}
		if got := encodeStateRecord(e, r.value); !bytes.Equal(got, b) {
			t.Errorf("%x was decoded to what is encoded as %x", b, got)
		}
	})
}

func FuzzHeader(f *testing.F) {
	for _, h := range []header{{kind: logFile, id: [16]byte{1}}, {kind: stateFile, compacted: 7}} {
		f.Add(h.encode(), uint32(h.kind), false)
		f.Add(h.encode()[:headerSize-1], uint32(h.kind), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, kind uint32, seal bool) {
		if seal {
			b = sealed(b, nil)
		}
		h, err := decodeHeader(b, fileKind(kind))
		if err != nil {
			wantDamage(t, err)
			return
		}
		if got := h.encode(); !bytes.Equal(got, b) {
			t.Errorf("%x was decoded to what is encoded as %x", b, got)
		}
	})
}

// sealMetas gives both meta pages of a file of small pages right checksums.
func sealMetas(b []byte) {
	for _, page := range []int{0, minPageSize} {
		m := b[page+pageHead : page+pageHead+metaSize]
		sum := fnv.New64a()
		_, _ = sum.Write(m[:metaSize-8]) // never fails
		binary.NativeEndian.PutUint64(m[metaSize-8:], sum.Sum64())
	}
}

// FuzzPages changes a part of a good file. What the check accepts bbolt must
// be able to open and to walk; it panics in a goroutine of its own, which ends
// this process, if it is given what it does not expect.
func FuzzPages(f *testing.F) {
	var good [2][]byte
	for i := range good {
		var err error
		if good[i], err = os.ReadFile(bigFile(f, i == 1)); err != nil {
			f.Fatal(err)
		}
	}
	metaPages := binary.NativeEndian.AppendUint64(nil, 1<<40)
	f.Add(false, uint32(pageHead+40), metaPages, true)
	f.Add(false, uint32(pageHead+8), binary.NativeEndian.AppendUint32(nil, maxPageSize), true)
	f.Add(true, uint32(minPageSize+pageHead+16), []byte{2}, true)
	f.Add(false, uint32(pageHead+16), []byte{0x30}, true) // the root is another page that is whole
	for page := range uint32(20) {
		f.Add(page%2 == 0, page*minPageSize+8, []byte{leafPage, 0, 255}, false)
		f.Add(page%2 == 0, page*minPageSize+pageHead+4, []byte{255, 255}, false)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, freelist bool, at uint32, patch []byte, seal bool) {
		b := bytes.Clone(good[0])
		if freelist {
			b = bytes.Clone(good[1])
		}
		copy(b[int(at)%len(b):], patch)
		if seal {
			sealMetas(b)
		}
		c := &pageCheck{file: bytes.NewReader(b), size: int64(len(b))}
		if err := c.run(); err != nil {
			wantDamage(t, err)
			return
		}
		// A name of its own: bbolt leaves a file locked that it has panicked over.
		path := filepath.Join(dir, fmt.Sprintf("%x.db", sha256.Sum256(b)))
		if err := os.WriteFile(path, b, fileMode); err != nil {
			t.Fatal(err)
		}
		walkAll(t, path)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	})
}

// walkAll opens a file as Open does and reads every bucket.
func walkAll(t *testing.T, path string) {
	t.Helper()
	b, err := openBolt(path, 0)
	if err != nil {
		t.Fatalf("bbolt refuses what the check accepted: %v", err)
	}
	var walk func(*bolt.Bucket) error
	walk = func(bucket *bolt.Bucket) error {
		if bucket == nil {
			return nil // the root has become a page of plain keys
		}
		return bucket.ForEach(func(k, v []byte) error {
			if v != nil {
				return nil
			}
			if inner := bucket.Bucket(k); inner != nil {
				return walk(inner)
			}
			return nil
		})
	}
	err = b.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(_ []byte, bucket *bolt.Bucket) error { return walk(bucket) })
	})
	if err := errors.Join(err, b.Close()); err != nil {
		t.Errorf("walking what the check accepted: %v", err)
	}
}
