package kv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
)

// mark notes that a page is in use and reports whether it was not before.
func (c *pageCheck) mark(id uint64) bool {
	bit := uint64(1) << (id % 64)
	if c.seen[id/64]&bit != 0 {
		return false
	}
	c.seen[id/64] |= bit
	return true
}

// count returns how many pages are in use so far.
func (c *pageCheck) count() (n uint64) {
	for _, word := range c.seen {
		n += uint64(bits.OnesCount64(word))
	}
	return n
}

// pageError is ErrCorrupt with the page that is.
type pageError struct {
	page uint64
	what string
}

func (e *pageError) Error() string { return fmt.Sprintf("%v: page %d: %s", ErrCorrupt, e.page, e.what) }

func (e *pageError) Unwrap() error { return ErrCorrupt }

func corruptPage(id uint64, format string, args ...any) error {
	return &pageError{page: id, what: fmt.Sprintf(format, args...)}
}

// read reads a page and its overflow and checks its header. The bytes are
// good until the next page of the same level is read.
func (c *pageCheck) read(id uint64, level int) ([]byte, error) {
	if id < 2 || id >= c.meta.pages {
		return nil, corruptPage(id, "page does not exist")
	}
	if level >= maxTreeDepth {
		return nil, corruptPage(id, "tree is too deep")
	}
	buf := c.buffers[level]
	if len(buf) == 0 {
		buf = make([]byte, c.meta.pageSize)
		c.buffers[level] = buf
	}
	off := int64(id * c.meta.pageSize)
	if _, err := c.file.ReadAt(buf[:c.meta.pageSize], off); err != nil {
		return nil, corruptPage(id, "read: %v", err)
	}
	order := binary.NativeEndian
	overflow := uint64(order.Uint32(buf[12:]))
	if order.Uint64(buf) != id || id+overflow >= c.meta.pages {
		return nil, corruptPage(id, "page header makes no sense")
	}
	for i := range overflow + 1 {
		if !c.mark(id + i) {
			return nil, corruptPage(id+i, "page is in use twice")
		}
	}
	size := (overflow + 1) * c.meta.pageSize
	if uint64(len(buf)) < size {
		buf = make([]byte, size)
		c.buffers[level] = buf
	}
	if overflow > 0 {
		if _, err := c.file.ReadAt(buf[:size], off); err != nil {
			return nil, corruptPage(id, "read: %v", err)
		}
	}
	return buf[:size], nil
}

// position is where in the file a page belongs: in which bucket, and which
// keys are there: at least min, below max; nil: no bound.
type position struct {
	bucket   string
	min, max []byte
}

func (b position) hold(key []byte, first bool) bool {
	order := bytes.Compare(key, b.min)
	return (order > 0 || order == 0 && first) && (b.max == nil || bytes.Compare(key, b.max) < 0)
}

// tree checks the page id and all below it.
func (c *pageCheck) tree(id uint64, in position, level int) error {
	err := c.subtree(id, in, level)
	if err != nil && c.note != nil {
		return c.note(err)
	}
	return err
}

func (c *pageCheck) subtree(id uint64, in position, level int) error {
	p, err := c.read(id, level)
	if err != nil {
		return err
	}
	switch flags := binary.NativeEndian.Uint16(p[8:]); flags {
	case branchPage:
		return c.branch(id, p, in, level)
	case leafPage:
		return c.leaf(id, p, in, level)
	default:
		return corruptPage(id, "page type %#x where a branch or a leaf belongs", flags)
	}
}

func (c *pageCheck) branch(id uint64, p []byte, in position, level int) error {
	order := binary.NativeEndian
	count := int(order.Uint16(p[10:]))
	if count == 0 || pageHead+count*elementSize > len(p) {
		return corruptPage(id, "branch has %d elements", count)
	}
	keys := make([][]byte, count)
	for i := range count {
		at := pageHead + i*elementSize
		start, size := int64(at)+int64(order.Uint32(p[at:])), int64(order.Uint32(p[at+4:]))
		if size == 0 || start < int64(pageHead+count*elementSize) || start+size > int64(len(p)) {
			return corruptPage(id, "element %d lies outside the page", i)
		}
		keys[i] = p[start : start+size]
		if !in.hold(keys[i], i == 0) {
			return corruptPage(id, "key of element %d is out of order", i)
		}
		in.min = keys[i]
	}
	for i := range count {
		child := position{bucket: in.bucket, min: keys[i], max: in.max}
		if i+1 < count {
			child.max = keys[i+1]
		}
		if err := c.tree(order.Uint64(p[pageHead+i*elementSize+8:]), child, level+1); err != nil {
			return err
		}
	}
	return nil
}

// leaf checks a leaf page, which may also be one that lies in a bucket's
// value, and the buckets on it.
func (c *pageCheck) leaf(id uint64, p []byte, in position, level int) error {
	order := binary.NativeEndian
	count := int(order.Uint16(p[10:]))
	if pageHead+count*elementSize > len(p) {
		return corruptPage(id, "leaf has %d elements", count)
	}
	for i := range count {
		at := pageHead + i*elementSize
		start := int64(at) + int64(order.Uint32(p[at+4:]))
		mid := start + int64(order.Uint32(p[at+8:]))
		end := mid + int64(order.Uint32(p[at+12:]))
		if mid == start || start < int64(pageHead+count*elementSize) || end > int64(len(p)) {
			return corruptPage(id, "element %d lies outside the page", i)
		}
		if !in.hold(p[start:mid], i == 0) {
			return corruptPage(id, "key of element %d is out of order", i)
		}
		in.min = p[start:mid]
		switch flags := order.Uint32(p[at:]); flags {
		case 0:
			if c.visit != nil {
				c.visit(id, in.bucket, p[start:mid], p[mid:end])
			}
		case 1:
			if err := c.bucket(id, string(p[start:mid]), p[mid:end], level); err != nil {
				return err
			}
		default:
			return corruptPage(id, "element %d has flags %#x", i, flags)
		}
	}
	return nil
}

// bucket checks a bucket found on page id.
func (c *pageCheck) bucket(id uint64, name string, value []byte, level int) error {
	if len(value) < bucketHead {
		return corruptPage(id, "bucket header is cut short")
	}
	if c.visit != nil {
		c.visit(id, name, nil, nil)
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return c.tree(root, position{bucket: name}, level+1)
	}
	inline := value[bucketHead:]
	if len(inline) < pageHead || binary.NativeEndian.Uint16(inline[8:]) != leafPage || level >= maxTreeDepth {
		return corruptPage(id, "inline bucket makes no sense")
	}
	return c.leaf(id, inline, position{bucket: name}, level+1)
}

// freelist checks the list of free pages, which is in the file only if
// another program has written to it last: we keep it in memory.
func (c *pageCheck) freelist() error {
	id := c.meta.freelist
	if id == noFreelist {
		return nil
	}
	p, err := c.read(id, 0)
	if err != nil {
		return err
	}
	order := binary.NativeEndian
	count, at := uint64(order.Uint16(p[10:])), uint64(pageHead)
	if count == 0xffff { // a long list has its length in front
		count, at = order.Uint64(p[at:]), at+8
	}
	if order.Uint16(p[8:]) != freelistPage || count > (uint64(len(p))-at)/8 {
		return corruptPage(id, "list of free pages makes no sense")
	}
	for i := range count {
		if free := order.Uint64(p[at+8*i:]); free >= c.meta.pages || !c.mark(free) {
			return corruptPage(id, "free page %d is in use", free)
		}
	}
	return nil
}
