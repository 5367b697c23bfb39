package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// Defaults of Watermarks, which are the kubelet's.
const (
	DefaultHighPercent = 85
	DefaultLowPercent  = 80
	DefaultMinAge      = 2 * time.Minute
)

// collectInterval is how often the disk is looked at.
const collectInterval = time.Minute

// Watermarks say when images that nothing uses are removed.
type Watermarks struct {
	// HighPercent of the disk in use begins a removal, which goes on until
	// LowPercent are. 100 for HighPercent turns it off.
	HighPercent, LowPercent int
	// MinAge is how long an image stays after its last use.
	MinAge time.Duration
}

// Disk is the size of a file system and what is free of it.
type Disk struct{ Capacity, Free uint64 }

// UsedPercent is how much of the disk is in use.
func (d Disk) UsedPercent() int {
	if d.Capacity == 0 {
		return 0
	}
	return int(100 - min(100, d.Free*100/d.Capacity))
}

// DiskOf returns the size of the file system of dir.
func DiskOf(dir string) (Disk, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return Disk{}, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	// What is kept for root does not count: files of pods are not root's.
	size := uint64(stat.Bsize)
	return Disk{Capacity: (stat.Blocks - stat.Bfree + stat.Bavail) * size, Free: stat.Bavail * size}, nil
}

// Collector keeps the images of a store from filling the disk.
type Collector struct {
	store *Store
	marks Watermarks
	clock clock.WithTicker
	disk  func(dir string) (Disk, error)
	// full says that the last look found the disk full, and nothing to remove.
	full bool
}

// NewCollector returns a collector of a store.
func NewCollector(store *Store, marks Watermarks) *Collector {
	return &Collector{store: store, marks: marks, clock: store.config.Clock, disk: DiskOf}
}

// Run looks at the disk from time to time, and after each pull, until ctx ends.
func (c *Collector) Run(ctx context.Context) {
	if c.marks.HighPercent >= 100 {
		return
	}
	ticker := c.clock.NewTicker(collectInterval)
	defer ticker.Stop()
	for {
		if err := c.Collect(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Images that nothing uses cannot all be removed")
		}
		select {
		case <-ticker.C():
		case <-c.store.pulled:
		case <-ctx.Done():
			return
		}
	}
}

// Collect removes images that nothing uses, the least recently used first, if
// more of the disk is in use than the high watermark says, until the low one is
// reached.
func (c *Collector) Collect(ctx context.Context) error {
	disk, err := c.disk(c.store.config.Dir)
	if err != nil {
		return fmt.Errorf("look at the disk: %w", err)
	}
	if disk.UsedPercent() < c.marks.HighPercent {
		c.full = false
		return nil
	}
	goal := disk.Capacity / 100 * uint64(100-c.marks.LowPercent)
	want := int64(goal) - int64(disk.Free)
	freed, count, err := c.store.removeUnused(ctx, want, c.clock.Now().Add(-c.marks.MinAge))
	logger := klog.FromContext(ctx)
	switch {
	case count > 0:
		logger.Info("Images that nothing uses were removed, because the disk fills up",
			"images", count, "freedBytes", freed, "diskUsedPercent", disk.UsedPercent(), "highPercent", c.marks.HighPercent)
	case !c.full && err == nil:
		logger.Info("The disk is above the high watermark, and there is no image to remove: free space on it, or use a larger one",
			"dir", c.store.config.Dir, "diskUsedPercent", disk.UsedPercent(), "highPercent", c.marks.HighPercent)
	}
	c.full = count == 0
	return err
}

// RemoveUnused removes all images that nothing uses, and says how many there
// were and how much disk space they took.
func (s *Store) RemoveUnused(ctx context.Context) (freed int64, count int, err error) {
	const all = 1 << 62
	return s.removeUnused(ctx, all, s.config.Clock.Now().Add(time.Hour))
}

// removeUnused removes images that were not used since a time until they took so
// many bytes, and what named them.
func (s *Store) removeUnused(ctx context.Context, bytes int64, since time.Time) (freed int64, count int, err error) {
	stored, err := list(s.config.Dir, func(string) (int64, error) { return 0, nil })
	if err != nil {
		return 0, 0, err
	}
	var errs []error
	for _, image := range stored {
		if freed >= bytes || ctx.Err() != nil {
			break
		}
		if image.UsedAt.After(since) {
			continue
		}
		size, err := diskUsage(s.dir(image.Digest))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		removed, err := s.remove(ctx, image.Digest)
		if err != nil {
			errs = append(errs, fmt.Errorf("remove image %s: %w", image.Digest, err))
			continue
		}
		if removed {
			freed += size
			count++
		}
	}
	return freed, count, errors.Join(append(errs, s.dropNotes())...)
}

// dropNotes removes what names images that are not here any more.
func (s *Store) dropNotes() error {
	return eachNote(s.config.Dir, func(path string, n note) error {
		if _, err := os.Stat(filepath.Join(s.dir(n.Digest), indexName)); !os.IsNotExist(err) {
			return nil
		}
		s.mu.Lock()
		busy := s.used[n.Digest.String()] > 0
		s.mu.Unlock()
		if busy {
			return nil
		}
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("forget %s: %w", n.Reference, err)
		}
		return nil
	})
}
