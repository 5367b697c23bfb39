package kv

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
)

// interests are what watchers wait for, so that a write wakes those that it
// concerns and no others: thousands of clients may each watch one object. A
// watcher is in here only while it waits.
type interests struct {
	// mu orders waiting against publishing: who waits for what comes after a
	// root does so before the next one is published.
	mu sync.Mutex
	// keys and prefixes are the two ways to be interested. Prefixes are whole
	// segments: they are empty or end with a slash.
	keys, prefixes map[string]*interest
}

// interest is in one key, or in all keys with one prefix.
type interest struct {
	waiting int
	// wake is what those that wait now are woken by.
	wake *wake
}

// wake tells all who wait for it that there is something for them.
type wake struct {
	// called is closed for that.
	called chan struct{}
	// clean is the newest revision for which there was nothing. It is set
	// before called is closed.
	clean int64
}

func newInterests() *interests {
	return &interests{keys: map[string]*interest{}, prefixes: map[string]*interest{}}
}

// publish replaces the root by r and wakes whom the writes between the two
// concern. It takes the time of a few look-ups for each write.
func (n *interests) publish(current *atomic.Pointer[root], r *root) {
	n.mu.Lock()
	old := current.Swap(r)
	if len(n.keys)+len(n.prefixes) > 0 {
		for rev := old.rev + 1; rev <= r.rev; rev++ {
			n.touch(r.log.at(rev).key(), old.rev)
		}
	}
	n.mu.Unlock()
	close(old.next)
}

func (n *interests) touch(key string, clean int64) {
	n.keys[key].call(clean)
	n.prefixes[""].call(clean)
	for end := 0; ; {
		i := strings.IndexByte(key[end:], '/')
		if i < 0 {
			return
		}
		end += i + 1
		n.prefixes[key[:end]].call(clean)
	}
}

// call wakes who waits for i, which may be nil. The caller holds mu.
func (i *interest) call(clean int64) {
	if i == nil || i.wake == nil {
		return
	}
	i.wake.clean = clean
	close(i.wake.called)
	i.wake = nil
}

// of returns the map that holds an interest, and its name there. A prefix that
// ends within a segment is an interest in all of the segment's siblings.
func (n *interests) of(w *Watcher) (in map[string]*interest, name string) {
	if w.single {
		return n.keys, w.prefix
	}
	return n.prefixes, w.prefix[:strings.LastIndexByte(w.prefix, '/')+1]
}

// wait returns when there is something for w after the root r, when ctx ends or
// when the database stops, and moves w over what was not for it. If there is a
// newer root already it returns at once.
func (n *interests) wait(ctx context.Context, w *Watcher, r *root) error {
	n.mu.Lock()
	if w.db.root.Load() != r {
		n.mu.Unlock()
		return nil
	}
	in, name := n.of(w)
	i := in[name]
	if i == nil {
		i = &interest{}
		in[name] = i
	}
	if i.wake == nil {
		i.wake = &wake{called: make(chan struct{})}
	}
	i.waiting++
	mine := i.wake
	n.mu.Unlock()

	var err error
	select {
	case <-mine.called:
	case <-ctx.Done():
		err = ctx.Err()
	case <-w.db.stopped:
		err = w.db.stopError()
	}

	n.mu.Lock()
	defer n.mu.Unlock()
	if i.waiting--; i.waiting == 0 {
		delete(in, name)
	}
	select {
	case <-mine.called:
		w.seen = max(w.seen, mine.clean)
		return nil // what there is comes before the error
	default:
		w.seen = max(w.seen, w.db.root.Load().rev)
		return err
	}
}
