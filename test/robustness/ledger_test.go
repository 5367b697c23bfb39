//go:build linux

package robustness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"arl.io/arl/pkg/storage/kv"
)

// fact is what a revision stands for.
type fact struct {
	key string
	// id is that of the write; "" for a delete that was not acknowledged.
	id     string
	delete bool
}

// intent is a write that a child has announced and heard no answer to.
type intent struct {
	key    string
	delete bool
}

// ledger is all that is known of a database without having looked at it.
type ledger struct {
	layer string
	// facts never change once known. newest is, for each key, the highest revision in them.
	facts  map[int64]fact
	newest map[string]int64
	// open are the writes without an answer.
	open map[string]intent
	// acked is the highest acknowledged revision; seen and compacted are the
	// database's at the last look.
	acked, seen, compacted int64
	// acknowledged and full count answers.
	acknowledged, full int
}

func newLedger(layer string) *ledger {
	return &ledger{layer: layer, facts: map[int64]fact{}, newest: map[string]int64{}, open: map[string]intent{}}
}

// settle notes what a revision stands for.
func (l *ledger) settle(rev int64, f fact) error {
	if known, ok := l.facts[rev]; ok && known != f {
		return fmt.Errorf("revision %d stands for %+v and for %+v", rev, known, f)
	}
	l.facts[rev] = f
	l.newest[f.key] = max(l.newest[f.key], rev)
	return nil
}

// hear takes down one line of a child.
func (l *ledger) hear(line string) error {
	words := strings.Fields(line)
	switch {
	case len(words) == 3 && (words[0] == "put" || words[0] == "delete"):
		l.open[words[1]] = intent{key: words[2], delete: words[0] == "delete"}
	case len(words) == 2 && words[0] == "no":
		delete(l.open, words[1])
	case len(words) == 2 && words[0] == "full":
		l.full++
		delete(l.open, words[1])
	case len(words) == 3 && words[0] == "ack":
		return l.ack(words[1], words[2])
	case len(words) > 0 && words[0] == "broken":
		return errors.New(line)
	}
	return nil
}

func (l *ledger) ack(id, number string) error {
	rev, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return err
	}
	if _, used := l.facts[rev]; used || rev <= l.seen {
		return fmt.Errorf("%s was acknowledged with revision %d, which was used before (newest at the start: %d)", id, rev, l.seen)
	}
	in := l.open[id]
	delete(l.open, id)
	l.acked = max(l.acked, rev)
	l.acknowledged++
	return l.settle(rev, fact{key: in.key, id: id, delete: in.delete})
}

// check opens the database and compares it with the ledger.
func (l *ledger) check(dir string) error {
	db, err := kv.Open(dir, kv.Options{LargeValueBytes: largeAbove})
	if err != nil {
		return err
	}
	return errors.Join(l.compare(db), db.Close())
}

// compare compares an open database with the ledger, which learns from it what
// became of the writes without an answer. No child may be alive.
func (l *ledger) compare(db *kv.DB) error {
	s := db.Snapshot()
	rev, compacted := s.Revision(), s.CompactedRevision()
	if rev < l.acked || rev < l.seen || compacted < l.compacted {
		return fmt.Errorf("found revision %d, compacted %d; acknowledged was %d, seen before %d, compacted %d",
			rev, compacted, l.acked, l.seen, l.compacted)
	}
	if err := l.compareLog(db, compacted, rev); err != nil {
		return err
	}
	if err := l.compareContent(s); err != nil {
		return err
	}
	l.seen, l.compacted = rev, compacted
	clear(l.open)
	return nil
}

// compareLog reads the events in (compacted, rev], which must be all there.
func (l *ledger) compareLog(db *kv.DB, compacted, rev int64) error {
	w, err := db.Watch("", compacted)
	if err != nil {
		return err
	}
	next := max(compacted, 1) + 1
	for upTo := compacted; upTo < rev; {
		var events []kv.Event
		if events, upTo, err = w.Next(context.Background()); err != nil {
			return err
		}
		for _, e := range events {
			if e.Rev != next {
				return fmt.Errorf("the event after revision %d is of revision %d", next-1, e.Rev)
			}
			next++
			value, err := e.Current().Load()
			if err != nil {
				return err
			}
			if err := l.found(e.Rev, e.Key, value, e.Delete); err != nil {
				return err
			}
		}
	}
	if next != rev+1 {
		return fmt.Errorf("the events end at revision %d, the database is at %d", next-1, rev)
	}
	return nil
}

// found compares one write that was found with what is known.
func (l *ledger) found(rev int64, key string, value []byte, deleted bool) error {
	f := fact{key: key, delete: deleted}
	if !deleted {
		var err error
		if f.id, err = l.idOf(value); err != nil {
			return fmt.Errorf("revision %d, key %s: %w", rev, key, err)
		}
	}
	known, ok := l.facts[rev]
	switch {
	case ok && deleted:
		f.id = known.id
		return l.settle(rev, f)
	case ok:
		return l.settle(rev, f)
	case rev <= l.seen:
		return fmt.Errorf("revision %d was not there before, though %d was: %+v", rev, l.seen, f)
	case !deleted && l.open[f.id] != intent{key: key}:
		return fmt.Errorf("revision %d, key %s: nobody wrote %s, or it was refused", rev, key, f.id)
	case deleted && !l.mayBeDeleted(key):
		return fmt.Errorf("revision %d, key %s: nobody deleted it", rev, key)
	}
	return l.settle(rev, f)
}

func (l *ledger) mayBeDeleted(key string) bool {
	for _, in := range l.open {
		if in == (intent{key: key, delete: true}) {
			return true
		}
	}
	return false
}

// compareContent compares the keys with the newest that is known of each.
func (l *ledger) compareContent(s kv.Snapshot) (err error) {
	live := map[string]int64{}
	s.Ascend("", "", func(e kv.Entry) bool {
		live[e.Key] = e.ModRev
		var value []byte
		if value, err = e.Load(); err != nil {
			return false
		}
		if err = l.found(e.ModRev, e.Key, value, false); err == nil && e.ModRev < l.newest[e.Key] {
			err = fmt.Errorf("key %s is at revision %d, it was at %d", e.Key, e.ModRev, l.newest[e.Key])
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	for key, rev := range l.newest {
		if live[key] != 0 || l.facts[rev].delete {
			continue
		}
		// A compaction may have left nothing of a delete that nobody was told of.
		if rev > s.CompactedRevision() || !l.mayBeDeleted(key) {
			return fmt.Errorf("key %s is gone, it was at revision %d: %+v", key, rev, l.facts[rev])
		}
		delete(l.newest, key)
	}
	return nil
}

// idOf returns the ID that a stored value was made from, and fails if any
// byte of it is another.
func (l *ledger) idOf(stored []byte) (string, error) {
	value, err := valueOf(l.layer, stored)
	if err != nil {
		return "", err
	}
	id, _, _ := strings.Cut(value, "|")
	size, err := strconv.Atoi(id[strings.LastIndexByte(id, '.')+1:])
	if err != nil || value != makeValue(id, size) {
		return "", fmt.Errorf("a value of %d bytes that nobody wrote: %.80q", len(value), value)
	}
	return id, nil
}

// copy returns a ledger that learns apart from l.
func (l *ledger) copy() *ledger {
	c := *l
	c.facts, c.newest, c.open = clone(l.facts), clone(l.newest), clone(l.open)
	return &c
}

func clone[K comparable, V any](m map[K]V) map[K]V {
	out := make(map[K]V, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// exists reports whether there is anything at path.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
