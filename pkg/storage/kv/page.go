package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// bbolt trusts its file: a damaged page makes it panic in a goroutine of its
// own, or read beyond the end of the file, and a damaged meta page makes it
// fall back to the state before the last commit without a word. So a file is
// checked here, with plain reads, before bbolt sees it: the whole layout of
// bbolt's data file, version 2, though not what the records say.
const (
	boltMagic    = 0xED0CDAED
	boltVersion  = 2
	noFreelist   = 1<<64 - 1
	pageHead     = 16
	elementSize  = 16
	bucketHead   = 16
	metaSize     = 64
	minPageSize  = 1 << 10
	maxPageSize  = 1 << 24
	maxTreeDepth = 64

	branchPage   = 0x01
	leafPage     = 0x02
	metaPage     = 0x04
	freelistPage = 0x10
)

// boltMeta is the part of a meta page that matters here.
type boltMeta struct {
	pageSize, root, freelist, pages, txid uint64
}

// pageCheck walks the pages of one file.
type pageCheck struct {
	file io.ReaderAt
	size int64
	meta boltMeta
	// seen has a bit for each page that is in use, used is how many there are.
	seen []uint64
	used uint64
	// visit is told of every value found: the page it begins on, its bucket, key
	// and value, which are good until it returns; and of every bucket before
	// that, without a key. May be nil.
	visit func(page uint64, bucket string, key, value []byte)
	// note is told of what is wrong with a page, and returns nil to have the
	// pages beside it checked all the same. Nil: the first problem ends the check.
	note func(error) error
	// buffers has one page buffer for each level of the tree.
	buffers [maxTreeDepth][]byte
}

// checkPages checks the whole structure of a bbolt file. The error names the
// file and the page: ErrFormat for a file of another kind, else ErrCorrupt.
func checkPages(path string) error { return (&pageCheck{}).check(path) }

func (c *pageCheck) check(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	c.file, c.size = f, info.Size()
	if err := c.run(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (c *pageCheck) run() error {
	if c.size == 0 {
		return fmt.Errorf("%w: file is empty", ErrCorrupt)
	}
	if err := c.readMeta(); err != nil {
		return err
	}
	if c.meta.pages > uint64(c.size)/c.meta.pageSize {
		return fmt.Errorf("%w: file is truncated: it has %d bytes and needs %d pages of %d", ErrCorrupt, c.size, c.meta.pages, c.meta.pageSize)
	}
	c.seen = make([]uint64, c.meta.pages/64+1)
	c.mark(0)
	c.mark(1)
	if err := c.tree(c.meta.root, position{}, 0); err != nil {
		return err
	}
	c.used = c.count()
	return c.freelist()
}

// readMeta reads both meta pages and keeps the newer. Both must be whole: a
// meta page is written by a single write within one sector, so a crash
// does not leave half of one.
func (c *pageCheck) readMeta() error {
	first, errFirst := c.metaAt(0)
	if errors.Is(errFirst, ErrFormat) && !c.hasSecondMeta() {
		return errFirst
	}
	if errFirst != nil {
		return fmt.Errorf("%w: page 0: meta page is damaged", ErrCorrupt)
	}
	second, errSecond := c.metaAt(int64(first.pageSize))
	if errSecond != nil || second.pageSize != first.pageSize {
		return fmt.Errorf("%w: page 1: meta page is damaged", ErrCorrupt)
	}
	c.meta = first
	if second.txid > first.txid {
		c.meta = second
	}
	return nil
}

// hasSecondMeta looks for the second meta page where each page size would put it.
func (c *pageCheck) hasSecondMeta() bool {
	for size := int64(minPageSize); size <= maxPageSize; size *= 2 {
		if _, err := c.metaAt(size); err == nil {
			return true
		}
	}
	return false
}

func (c *pageCheck) metaAt(off int64) (boltMeta, error) {
	b := make([]byte, pageHead+metaSize)
	if _, err := c.file.ReadAt(b, off); err != nil && !errors.Is(err, io.EOF) {
		return boltMeta{}, err
	}
	order := binary.NativeEndian
	head, m := b[:pageHead], b[pageHead:]
	if magic, version := order.Uint32(m), order.Uint32(m[4:]); magic != boltMagic || version != boltVersion {
		return boltMeta{}, fmt.Errorf("%w: not a bbolt database", ErrFormat)
	}
	sum := fnv.New64a()
	_, _ = sum.Write(m[:metaSize-8]) // never fails
	meta := boltMeta{
		pageSize: uint64(order.Uint32(m[8:])),
		root:     order.Uint64(m[16:]),
		freelist: order.Uint64(m[32:]),
		pages:    order.Uint64(m[40:]),
		txid:     order.Uint64(m[48:]),
	}
	if order.Uint64(m[56:]) != sum.Sum64() || order.Uint16(head[8:])&metaPage == 0 ||
		meta.pageSize < minPageSize || meta.pageSize > maxPageSize || meta.pageSize&(meta.pageSize-1) != 0 {
		return boltMeta{}, ErrCorrupt
	}
	return meta, nil
}
