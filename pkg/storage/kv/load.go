package kv

import (
	"fmt"

	bolt "go.etcd.io/bbolt"

	"arl.io/arl/pkg/storage/internal/mutation"
)

// load reads both files and checks every record, and keeps in memory all but
// the large values. trimmed is the newest revision that is not in the log file.
func (f *files) load() (next root, trimmed int64, err error) {
	logHeader, err := readHeader(f.log, logFile)
	if err != nil {
		return root{}, 0, err
	}
	stateHeader, err := readHeader(f.state, stateFile)
	if err != nil {
		return root{}, 0, err
	}
	if logHeader.id != stateHeader.id {
		return root{}, 0, fmt.Errorf("%w: %s and %s belong to different databases", ErrCorrupt, f.log.Path(), f.state.Path())
	}
	f.id = logHeader.id
	l := loader{files: f, next: root{rev: stateHeader.compacted, compacted: stateHeader.compacted, tree: newTree()}}
	l.next.log.first = l.next.compacted + 1
	if err := guard(f.state.Path(), func() error { return f.state.View(l.state) }); err != nil {
		return root{}, 0, err
	}
	if err := guard(f.log.Path(), func() error { return f.log.View(l.log) }); err != nil {
		return root{}, 0, err
	}
	return l.next, l.trimmed, nil
}

// readHeader reads the header of a file, and sees that its bucket is there.
func readHeader(b *bolt.DB, kind fileKind) (h header, err error) {
	bucket := logBucket
	if kind == stateFile {
		bucket = stateBucket
	}
	err = guard(b.Path(), func() error {
		return b.View(func(tx *bolt.Tx) error {
			meta := tx.Bucket(metaBucket)
			if meta == nil {
				return fmt.Errorf("%w: not a database of this program", ErrFormat)
			}
			if h, err = decodeHeader(meta.Get(headerKey), kind); err != nil {
				return err
			}
			if tx.Bucket(bucket) == nil {
				return fmt.Errorf("%w: bucket %q is missing", ErrCorrupt, bucket)
			}
			return nil
		})
	})
	return h, err
}

// loader builds the root that a database starts with.
type loader struct {
	files   *files
	next    root
	trimmed int64
}

// state reads the keys as of the compacted revision.
func (l *loader) state(tx *bolt.Tx) error {
	return tx.Bucket(stateBucket).ForEach(func(k, v []byte) error {
		r, err := decodeStateRecord(k, v)
		if err != nil {
			return fmt.Errorf("key %q: %w", k, err)
		}
		e := l.files.read(string(k), r.value, r.modRev)
		e.CreateRev, e.ModRev, e.Expiry, e.Tags = r.createRev, r.modRev, r.expiry, r.tags
		if e.CreateRev < firstWrite || e.CreateRev > e.ModRev || e.ModRev > l.next.compacted {
			return fmt.Errorf("%w: key %q is of revision %d, created at %d, in a state of revision %d",
				ErrCorrupt, k, e.ModRev, e.CreateRev, l.next.compacted)
		}
		l.next.tree.replace(nil, e)
		return nil
	})
}

// log replays the log upon the state. What is at or below the compacted
// revision was about to be removed.
func (l *loader) log(tx *bolt.Tx) error {
	l.trimmed = l.next.compacted
	last := int64(-1)
	err := tx.Bucket(logBucket).ForEach(func(k, v []byte) error {
		rev, err := parseRevKey(k)
		if err != nil {
			return fmt.Errorf("%w: log key %x: %w", ErrCorrupt, k, err)
		}
		if last < 0 {
			l.trimmed = min(l.trimmed, rev-1)
		} else if rev != last+1 {
			return fmt.Errorf("%w: revisions %d to %d are missing", ErrCorrupt, last+1, rev-1)
		}
		last = rev
		if rev <= l.next.compacted {
			return nil
		}
		if err := l.replay(rev, v); err != nil {
			return fmt.Errorf("revision %d: %w", rev, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.mutate()
	if l.next.rev < firstWrite || last >= 0 && last < l.next.compacted {
		return fmt.Errorf("%w: the log ends at revision %d, the state is of revision %d", ErrCorrupt, last, l.next.compacted)
	}
	return nil
}

// mutate breaks what was loaded, in builds that are to be found out.
func (l *loader) mutate() {
	if l.next.rev <= l.next.compacted || l.next.rev == firstWrite {
		return
	}
	switch mutation.Active {
	case mutation.ForgetLogTail:
		l.next.log.at(l.next.rev).undo(l.next.tree)
		l.next.rev--
	case mutation.ReuseRevision:
		l.next.rev--
	}
}

// replay applies the write of revision rev, which must follow from what is there.
func (l *loader) replay(rev int64, b []byte) error {
	if rev != l.next.rev+1 {
		return fmt.Errorf("%w: revisions %d to %d are missing", ErrCorrupt, l.next.rev+1, rev-1)
	}
	lr, err := decodeLogRecord(rev, b)
	if err != nil {
		return err
	}
	var r record
	if lr.op != opMark {
		if r, err = l.resolve(rev, lr); err != nil {
			return err
		}
	}
	r.apply(l.next.tree)
	l.next.rev = rev
	l.next.log.append(rev, r)
	l.next.logMemory += r.memory()
	l.next.logDisk += r.diskSize()
	return nil
}

// resolve finds what the write replaced, and checks that it is what the writer saw.
func (l *loader) resolve(rev int64, lr logRecord) (record, error) {
	key := string(lr.key)
	prev, exists := l.next.tree.get(key)
	var prevRev int64
	createRev := rev
	if exists {
		key, prevRev, createRev = prev.Key, prev.ModRev, prev.CreateRev
	}
	if lr.prevRev != prevRev || lr.createRev != createRev || lr.op == opDelete && !exists {
		return record{}, fmt.Errorf("%w: key %q was at revision %d when it was written, and is at %d", ErrCorrupt, key, lr.prevRev, prevRev)
	}
	r := record{prev: prev}
	if lr.op == opPut {
		r.cur = l.files.read(key, lr.value, rev)
		r.cur.CreateRev, r.cur.ModRev, r.cur.Expiry, r.cur.Tags = createRev, rev, lr.expiry, lr.tags
	}
	return r, nil
}
