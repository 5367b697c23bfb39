//go:build linux

package robustness

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// smallDisk mounts a file system of so many bytes until the test's end.
func smallDisk(t *testing.T, size int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("arl-robustness", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", size)); err != nil {
		t.Skipf("no file system can be mounted here, which takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// TestDiskFull lets databases run out of space under load, kills them there, and
// has them go on with and without space. The small disk is full at another
// point each time: some are too small for a database to be created.
func TestDiskFull(t *testing.T) {
	counts := tally{}
	defer counts.log(t)
	for round := range max(1, *rounds/4) {
		rnd := random(t, round)
		size := 1<<20 + rnd.IntN(90<<20)
		disk := smallDisk(t, size)
		if err := fillUp(filepath.Join(disk, "data"), rnd, counts); err != nil {
			t.Fatalf("seed %d, round %d, %d bytes: %v", *seed, round, size, err)
		}
		counts["rounds"]++
	}
}

func fillUp(dir string, rnd *rand.Rand, counts tally) error {
	l := newLedger(overKV)
	ballast := filepath.Join(filepath.Dir(dir), "ballast")
	for life := range 4 {
		o := order{
			Dir: dir, Layer: overKV, Seed: rnd.Uint64(), Name: fmt.Sprint("l", life),
			Writers: 8, MaxValue: 10_000, StopWhenFull: 50,
		}
		var onLine func(*run, string)
		if rnd.IntN(2) == 0 {
			refusals := rnd.IntN(o.StopWhenFull)
			onLine = func(r *run, line string) {
				if l.full > refusals {
					_ = r.kill() // it may have ended
				}
			}
		}
		if life > 0 {
			if err := writeBallast(ballast); err != nil {
				return err
			}
		}
		out, err := execute(o, l, onLine, nil)
		if err == nil {
			err = out.orderly()
		}
		if err == nil && out.code == exitFailed {
			err = fmt.Errorf("a full disk made the database fail: %s", out.said)
		}
		if err != nil {
			return err
		}
		counts[out.kind()]++
		if out.code == exitRefused && !out.killed {
			return refusedForSpace(dir, out)
		}
		if err := l.check(dir); err != nil {
			return fmt.Errorf("after life %d: %w", life, err)
		}
		if err := os.Remove(ballast); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	counts["acknowledged"] += l.acknowledged
	counts["refused"] += l.full
	return nil
}

// refusedForSpace accepts that a database is not opened only while it is being
// created, which takes space.
func refusedForSpace(dir string, out outcome) error {
	if exists(filepath.Join(dir, "log.db")) && exists(filepath.Join(dir, "state.db")) {
		return fmt.Errorf("a full disk keeps a database from being opened: %s", out.said)
	}
	return nil
}

// writeBallast takes what space there is.
func writeBallast(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for err == nil {
		_, err = f.Write(make([]byte, 64<<10))
	}
	if errors.Is(err, syscall.ENOSPC) {
		err = nil
	}
	return errors.Join(err, f.Close())
}
