package storagecmd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// createLocked makes an empty file that its owner alone may read, and sees that
// no other command writes it. What one that was killed left there is overwritten.
func createLocked(path string) (_ *os.File, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("another command is writing %s", path)
	}
	if err == nil {
		err = file.Truncate(0)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// syncFolder has the name of a file on disk.
func syncFolder(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
