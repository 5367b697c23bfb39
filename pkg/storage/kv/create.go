package kv

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// createFiles makes an empty database. Both files are whole under temporary
// names before either gets its own.
func createFiles(dir string) error {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	logPath, statePath := filepath.Join(dir, logName), filepath.Join(dir, stateName)
	err := errors.Join(
		createFile(logPath+newSuffix, header{kind: logFile, id: id}),
		createFile(statePath+newSuffix, header{kind: stateFile, id: id}))
	if err != nil {
		return err
	}
	return publishFiles(dir, logPath, statePath)
}

func createFile(path string, h header) error {
	b, err := newFile(path, h)
	if err != nil {
		return err
	}
	if h.kind == logFile {
		err = b.Update(func(tx *bolt.Tx) error {
			return tx.Bucket(logBucket).Put(revKey(firstWrite), appendLogRecord(nil, firstWrite, record{}, nil))
		})
	}
	return errors.Join(err, b.Close())
}

// newFile makes a file with a header and an empty bucket, in place of what a
// crash may have left there, and leaves it open.
func newFile(path string, h header) (*bolt.DB, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	pageSize, bucket := logPageSize, logBucket
	if h.kind == stateFile {
		pageSize, bucket = statePageSize, stateBucket
	}
	b, err := openBolt(path, pageSize)
	if err != nil {
		return nil, err
	}
	err = b.Update(func(tx *bolt.Tx) error {
		meta, err := tx.CreateBucket(metaBucket)
		if err != nil {
			return err
		}
		if err := meta.Put(headerKey, h.encode()); err != nil {
			return err
		}
		_, err = tx.CreateBucket(bucket)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// publishFiles gives new files their names. Their directory entries are on
// disk before the first rename, so that a crash leaves each file under one of
// its two names.
func publishFiles(dir string, paths ...string) error {
	if err := syncDir(dir); err != nil {
		return err
	}
	for _, path := range paths {
		if err := os.Rename(path+newSuffix, path); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

// finishCreate completes a creation that a crash cut short between its two
// renames: the file without its name must belong to the one that has it.
func finishCreate(dir, have, begun string) error {
	if err := checkPages(begun + newSuffix); err != nil {
		return err
	}
	ids := make([][16]byte, 2)
	for i, path := range []string{have, begun + newSuffix} {
		kind := stateFile
		if filepath.Base(path) == logName || filepath.Base(path) == logName+newSuffix {
			kind = logFile
		}
		b, err := openBolt(path, 0)
		if err != nil {
			return err
		}
		h, err := readHeader(b, kind)
		if err := errors.Join(err, b.Close()); err != nil {
			return err
		}
		ids[i] = h.id
	}
	if ids[0] != ids[1] {
		return fmt.Errorf("%w: %s is missing, and %s belongs to another database", ErrCorrupt, begun, begun+newSuffix)
	}
	return publishFiles(dir, begun)
}
