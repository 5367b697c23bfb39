package kv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"arl.io/arl/pkg/storage/internal/mutation"
)

// The files of a database, and what a file under creation is called.
const (
	logName    = "log.db"
	stateName  = "state.db"
	newSuffix  = ".new"
	fileMode   = 0o600
	dirMode    = 0o700
	firstWrite = 1 // the revision of the database's creation
)

var (
	metaBucket  = []byte("meta")
	logBucket   = []byte("log")
	stateBucket = []byte("state")
	headerKey   = []byte("header")
)

// mapBytes is how much address space a file is given at once: mapping it anew
// as it grows would hold up the writer.
const mapBytes = 256 << 20

// Page sizes of new files. The log is appended to and read in order: large
// pages waste less at their ends. The state is changed here and there: small
// pages are less to write anew.
const (
	logPageSize   = 16 << 10
	statePageSize = 4 << 10
)

// Open opens the database in dir, which it creates if there is none. It reads
// and checks everything before it writes anything, so a database that is
// refused is left as it was. If it is open already, here or in another
// process, returns ErrLocked at once; if a file is damaged or one of the two
// is missing, ErrCorrupt; if a file is of another program or version, ErrFormat.
func Open(dir string, o Options) (*DB, error) {
	o = o.complete()
	f := &files{largeAbove: o.LargeValueBytes}
	db, err := open(dir, o, f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", err), f.close())
	}
	return db, nil
}

func open(dir string, o Options, f *files) (*DB, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	var err error
	if f.lock, err = lockDir(dir); err != nil {
		return nil, err
	}
	if err := refuseHalfRestored(dir); err != nil {
		return nil, err
	}
	if err := findFiles(dir); err != nil {
		return nil, err
	}
	if err := f.open(dir); err != nil {
		return nil, err
	}
	w := &writer{}
	if w.next, w.trimmed, err = f.load(); err != nil {
		return nil, err
	}
	if err := removeLeftovers(dir); err != nil {
		return nil, err
	}
	// So that a compaction has room when the disk is full one day. If it is
	// already, that is no reason not to open.
	if err := f.roomToFold(o, 0); err != nil && !errors.Is(err, ErrNoSpace) {
		return nil, err
	}
	db := &DB{
		dir:        dir,
		opts:       o,
		files:      f,
		requests:   make(chan *request),
		folds:      make(chan fold),
		closing:    make(chan struct{}),
		stopped:    make(chan struct{}),
		compacting: make(chan struct{}, 1),
		history:    newHistory(),
		interests:  newInterests(),
		failed:     make(chan struct{}),
		held:       map[int64]int{},
		commit:     (*bolt.Tx).Commit,
	}
	w.db = db
	f.awaitCompacted = db.awaitCompacted
	db.root.Store(&root{next: make(chan struct{})})
	w.publish()
	go w.run()
	return db, nil
}

// makeDir creates dir, and what is missing above it, so that they outlast a crash.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(filepath.Clean(dir))
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// lockDir locks the directory itself: the lock covers the time in which there
// are no files yet, and leaves nothing behind.
func lockDir(dir string) (*os.File, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("%w: %s is locked by another process", ErrLocked, dir)
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Lock takes the lock of the database in dir without opening the database: no
// file is read, so it works on a damaged one. Until unlock, Open and the tools
// for stopped databases return ErrLocked. If the database is open already, here
// or in another process, returns ErrLocked at once; if there is no directory,
// fs.ErrNotExist.
func Lock(dir string) (unlock func() error, err error) {
	lock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("lock database: %w", err)
	}
	return lock.Close, nil
}

// findFiles sees that both files are there and whole. It creates them in a
// fresh directory, and completes a creation that was cut short.
func findFiles(dir string) error {
	var have, begun []string
	for _, name := range []string{logName, stateName} {
		path := filepath.Join(dir, name)
		switch _, err := os.Lstat(path); {
		case err == nil:
			have = append(have, path)
			continue
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		if _, err := os.Lstat(path + newSuffix); err == nil {
			begun = append(begun, path)
		}
	}
	if len(have) == 0 {
		if err := createFiles(dir); err != nil {
			return fmt.Errorf("create: %w", err)
		}
		return nil
	}
	for _, path := range have {
		if err := checkPages(path); err != nil {
			return err
		}
	}
	switch {
	case len(have) == 2:
		return nil
	case len(begun) == 1:
		return finishCreate(dir, have[0], begun[0])
	}
	missing := logName
	if filepath.Base(have[0]) == logName {
		missing = stateName
	}
	return fmt.Errorf("%w: %s is missing, though there is %s", ErrCorrupt, filepath.Join(dir, missing), have[0])
}

// open opens both files for writing, which changes nothing in them.
func (f *files) open(dir string) (err error) {
	if f.log, f.logReserve, err = openFile(filepath.Join(dir, logName)); err != nil {
		return err
	}
	f.state, f.stateReserve, err = openFile(filepath.Join(dir, stateName))
	return err
}

func openFile(path string) (*bolt.DB, *reserve, error) {
	b, err := openBolt(path, 0)
	if err != nil {
		return nil, nil, err
	}
	r, err := openReserve(path)
	if err != nil {
		return nil, nil, errors.Join(err, b.Close())
	}
	return b, r, nil
}

// openBolt opens a file for writing. pageSize is that of a file to be created.
func openBolt(path string, pageSize int) (b *bolt.DB, err error) {
	err = guard(path, func() (err error) {
		b, err = bolt.Open(path, fileMode, &bolt.Options{
			Timeout:         time.Millisecond,
			NoFreelistSync:  true, // a long list would be written with every commit
			FreelistType:    bolt.FreelistMapType,
			InitialMmapSize: mapBytes,
			PageSize:        pageSize,
			NoStatistics:    true,
			NoSync:          mutation.Active == mutation.NoSync,
		})
		return err
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%w: %s is locked by another process", ErrLocked, path)
	}
	return b, err
}

// guard runs fn, which reads from a mapped file, and turns a panic of bbolt
// and a fault of the memory into ErrCorrupt.
func guard(path string, fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: %w: %v", path, ErrCorrupt, p)
		}
	}()
	if err := fn(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
