package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"
)

// ErrBusy is returned when another run uses the cluster's folder.
var ErrBusy = errors.New("another run is using this cluster's folder")

const (
	// dyingTimeout is how long the processes of a killed run may take to end.
	dyingTimeout = 30 * time.Second
	pollInterval = 50 * time.Millisecond
)

// lock is an flock on a file that names who holds it. The holder of the
// namespaces inherits it: it is free only once the last cluster is gone.
type lock struct{ file *os.File }

// acquire takes the lock. If the run that holds it lives, the error is
// ErrBusy; if that run was killed, its cluster gets time to end.
func acquire(ctx context.Context, path string) (*lock, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	err = wait.PollUntilContextTimeout(ctx, pollInterval, dyingTimeout, true, func(context.Context) (bool, error) {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return false, fmt.Errorf("lock %s: %w", path, err)
		}
		if owner := ownerOf(path); owner != 0 && unix.Kill(owner, 0) == nil {
			return false, fmt.Errorf("%w: process %d holds %s; wait for it, or end it", ErrBusy, owner, path)
		}
		return false, nil
	})
	if wait.Interrupted(err) {
		err = fmt.Errorf("the processes of a killed run, which hold %s, did not end within %s: %w", path, dyingTimeout, err)
	}
	if err == nil {
		err = errors.Join(file.Truncate(0), writeAt(file, strconv.Itoa(os.Getpid())))
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &lock{file}, nil
}

func writeAt(file *os.File, text string) error {
	_, err := file.WriteAt([]byte(text), 0)
	return err
}

// ownerOf is the process that the lock names, or 0.
func ownerOf(path string) int {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return 0
	}
	return pid
}

func (l *lock) release() error {
	return errors.Join(l.file.Truncate(0), l.file.Close())
}
