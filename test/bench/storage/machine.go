package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// syncs is how many fdatasync calls are timed.
const syncs = 200

// machine says what the numbers were measured on.
func machine(dir string) (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return "", fmt.Errorf("statfs %s: %w", dir, err)
	}
	sync, err := syncTimes(dir)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d cores, Linux %s, %s, %s; append of 4 KiB and fdatasync: p50 %s ms, p99 %s ms",
		runtime.NumCPU(), unix.ByteSliceToString(name.Release[:]), fileSystem(fs.Type), runtime.Version(),
		millis(percentile(sync, 50)), millis(percentile(sync, 99))), nil
}

func fileSystem(magic int64) string {
	switch magic {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs (nothing is durable here)"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	}
	return fmt.Sprintf("file system %#x", magic)
}

// syncTimes returns how long it takes to append and sync 4 KiB.
func syncTimes(dir string) (times []time.Duration, err error) {
	file, err := os.Create(filepath.Join(dir, "fdatasync"))
	if err != nil {
		return nil, fmt.Errorf("measure fdatasync: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	page := make([]byte, 4096)
	for range syncs {
		start := time.Now()
		if _, err := file.Write(page); err != nil {
			return nil, fmt.Errorf("measure fdatasync: %w", err)
		}
		if err := unix.Fdatasync(int(file.Fd())); err != nil {
			return nil, fmt.Errorf("measure fdatasync: %w", err)
		}
		times = append(times, time.Since(start))
	}
	return times, nil
}
