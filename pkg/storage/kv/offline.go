package kv

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Offline is a database that no process has open, for reading. Close gives it back.
type Offline struct {
	// Snapshot is the newest state.
	Snapshot Snapshot
	// Stats are those of the database; Watchers is 0.
	Stats Stats
	// DatabaseID is in hexadecimal.
	DatabaseID string
	// LogFreeBytes and StateFreeBytes are what the files have room for without growing.
	LogFreeBytes, StateFreeBytes int64

	files  *files
	unlock func() error
}

// ReadOffline reads and checks the database in dir, as Open does, but opens
// nothing for writing: it works on a read-only file system, and on a directory
// that only may be read. Several may read at the same time, and keep Open out
// until they have called Close. If the database is open, returns ErrLocked.
func ReadOffline(dir string) (o Offline, err error) {
	unlock, err := shareDir(dir)
	if err != nil {
		return Offline{}, err
	}
	o = Offline{files: &files{}, unlock: unlock}
	defer func() {
		if err != nil {
			o, err = Offline{}, errors.Join(err, o.Close())
		}
	}()
	if err := refuseHalfRestored(dir); err != nil {
		return o, err
	}
	logPath, statePath := filepath.Join(dir, logName), filepath.Join(dir, stateName)
	next, f, err := readFiles(logPath, statePath)
	if err != nil {
		return o, err
	}
	o.files, o.Snapshot, o.DatabaseID = f, next.snapshot(), hex.EncodeToString(f.id[:])
	o.Stats = next.stats()
	o.Stats.LogFileBytes, o.Stats.StateFileBytes = fileSize(logPath), fileSize(statePath)
	if o.LogFreeBytes, err = unusedBytes(logPath); err != nil {
		return o, err
	}
	o.StateFreeBytes, err = unusedBytes(statePath)
	return o, err
}

// Backup writes a backup. See DB.Backup.
func (o Offline) Backup(ctx context.Context, w io.Writer, progress func(BackupProgress)) (BackupInfo, error) {
	return writeBackup(ctx, w, o.files.id, o.Snapshot, progress)
}

// Close lets others open the database. Large values of the snapshot can no
// longer be read. It must be called once.
func (o Offline) Close() error { return errors.Join(o.files.close(), o.unlock()) }

// readFiles reads and checks a log and a state that nobody writes to. The
// caller closes the files, from which large values are read.
func readFiles(logPath, statePath string) (next root, f *files, err error) {
	f = &files{largeAbove: DefaultLargeValueBytes}
	defer func() {
		if err != nil {
			f, err = nil, errors.Join(err, f.close())
		}
	}()
	for _, path := range []string{logPath, statePath} {
		if err := checkPages(path); err != nil {
			return root{}, f, err
		}
	}
	if f.log, err = readBolt(logPath); err != nil {
		return root{}, f, err
	}
	if f.state, err = readBolt(statePath); err != nil {
		return root{}, f, err
	}
	next, _, err = f.load()
	return next, f, err
}

func readBolt(path string) (b *bolt.DB, err error) {
	err = guard(path, func() (err error) {
		b, err = bolt.Open(path, fileMode, &bolt.Options{ReadOnly: true, Timeout: time.Millisecond, NoStatistics: true})
		return err
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%w: %s is locked by another process", ErrLocked, path)
	}
	return b, err
}

// shareDir takes a lock on the directory that keeps out writers and no readers.
func shareDir(dir string) (unlock func() error, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err = syscall.Flock(int(d.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("%w: %s is locked by another process", ErrLocked, dir)
	}
	if err == nil {
		err = wantDatabase(dir)
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d.Close, nil
}

// wantDatabase fails if there is nothing of a database in dir.
func wantDatabase(dir string) error {
	for _, name := range []string{logName, stateName, restoreMark} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("there is no database in %s: %w", dir, fs.ErrNotExist)
}

// unusedBytes is what lies within a file that has been found whole and holds nothing.
func unusedBytes(path string) (int64, error) {
	c := &pageCheck{}
	if err := c.check(path); err != nil {
		return 0, err
	}
	return c.size - int64(c.used*c.meta.pageSize), nil
}

// Usage is what the keys with a common prefix take.
type Usage struct {
	Prefix string
	Keys   int64
	// KeyBytes and ValueBytes are their sizes as they are stored.
	KeyBytes, ValueBytes int64
}

// Usage returns what the keys take, by their first segments, which are ended
// by slashes: "/a/b/c" and "/a/b/d/e" are of the same prefix "/a/b/" for two
// segments. Keys with fewer segments stand for themselves.
func (s Snapshot) Usage(segments int) []Usage {
	var out []Usage
	s.Ascend("", "", func(e Entry) bool {
		prefix := firstSegments(e.Key, segments)
		if len(out) == 0 || out[len(out)-1].Prefix != prefix {
			out = append(out, Usage{Prefix: prefix})
		}
		u := &out[len(out)-1]
		u.Keys++
		u.KeyBytes += int64(len(e.Key))
		u.ValueBytes += int64(e.Size())
		return true
	})
	return out
}

func firstSegments(key string, n int) string {
	end := 1 // behind the first slash
	for range n {
		next := strings.IndexByte(key[min(end, len(key)):], '/')
		if next < 0 {
			return key
		}
		end += next + 1
	}
	return key[:end]
}
