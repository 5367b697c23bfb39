package trash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/podruntime/local/filetree"
)

const (
	// firstRetry and lastRetry bound the pauses between two attempts to remove what cannot be removed.
	firstRetry = 10 * time.Second
	lastRetry  = 10 * time.Minute
	// measureFiles bounds the cost of saying how large it is.
	measureFiles = 100_000
	// maxSuffix bounds the search for a name that is not taken.
	maxSuffix = 1000
)

// Item is something in the trash.
type Item struct {
	// Path is where it is.
	Path string
	// Usage is what it takes, as far as that was measured.
	Usage filetree.Usage
	// Err is why it could not be removed.
	Err error
}

// Bin is a trash.
type Bin struct {
	dir   string
	clock clock.WithTicker
	wake  chan struct{}

	mu sync.Mutex
	// stuck are the entries that could not be removed, by name.
	stuck map[string]*stuck
}

// stuck is an entry that could not be removed.
type stuck struct {
	item  Item
	pause time.Duration
	due   time.Time
}

// Open opens the trash in dir, which is made if it does not exist.
func Open(dir string, clk clock.WithTicker) (*Bin, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("trash: %w", err)
	}
	return &Bin{dir: dir, clock: clk, wake: make(chan struct{}, 1), stuck: map[string]*stuck{}}, nil
}

// Put moves path into the trash and returns its name there, which begins with name. It is removed by
// Remove, or when Run starts. If path does not exist, Put does nothing and returns an empty name. path
// must be on the file system of the trash.
func (b *Bin) Put(path, name string) (string, error) {
	for i := range maxSuffix {
		unique := name
		if i > 0 {
			unique = fmt.Sprintf("%s.%d", name, i)
		}
		err := unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, filepath.Join(b.dir, unique), unix.RENAME_NOREPLACE)
		switch {
		case err == nil:
			return unique, nil
		case errors.Is(err, unix.ENOENT):
			return "", nil
		case !errors.Is(err, unix.EEXIST):
			return "", &os.PathError{Op: "move into the trash", Path: path, Err: err}
		}
	}
	return "", &os.PathError{Op: "move into the trash", Path: path, Err: unix.EEXIST}
}

// Discard moves path into the trash and removes it. It returns an error only if path is still where it
// was: what cannot be removed is left to Run, and what is not removed when ctx ends to the next Run.
func (b *Bin) Discard(ctx context.Context, path, name string) error {
	name, err := b.Put(path, name)
	if err == nil {
		b.Remove(ctx, name)
	}
	return err
}

// Remove removes what Put has put there, or has Run try it again later. An empty name is nothing.
func (b *Bin) Remove(ctx context.Context, name string) {
	if name == "" {
		return
	}
	path := filepath.Join(b.dir, name)
	err := filetree.Remove(ctx, path)
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		b.mu.Lock()
		_, was := b.stuck[name]
		delete(b.stuck, name)
		b.mu.Unlock()
		if was {
			klog.FromContext(ctx).Info("What could not be removed from the trash is removed now", "path", path)
		}
		return
	}
	// A failure of the measurement leaves what was counted.
	usage, _ := filetree.Measure(ctx, path, measureFiles)
	if b.keep(name, Item{Path: path, Usage: usage, Err: err}) {
		klog.FromContext(ctx).Error(err, "What is left of something deleted cannot be removed; it is tried again from time to time, without further reports",
			"path", path, "bytes", usage.Bytes, "files", usage.Files, "measuredCompletely", !usage.Partial)
	}
}

// keep has an entry tried again later. It returns whether it is a new one.
func (b *Bin) keep(name string, item Item) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, known := b.stuck[name]
	if !known {
		s = &stuck{pause: firstRetry / 2}
		b.stuck[name] = s
	}
	s.item, s.pause = item, min(2*s.pause, lastRetry)
	s.due = b.clock.Now().Add(s.pause)
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return !known
}

// Run removes what is in the trash, and tries what cannot be removed again, until ctx ends. It is
// called once.
func (b *Bin) Run(ctx context.Context) {
	names, err := b.names()
	if err != nil {
		klog.FromContext(ctx).Error(err, "The trash cannot be read")
	}
	for _, name := range names {
		b.Remove(ctx, name)
	}
	for ctx.Err() == nil {
		due, wait := b.due()
		for _, name := range due {
			b.Remove(ctx, name)
		}
		if len(due) > 0 {
			continue
		}
		var later <-chan time.Time
		if wait > 0 {
			later = b.clock.After(wait)
		}
		select {
		case <-later:
		case <-b.wake:
		case <-ctx.Done():
		}
	}
}

// due returns what is to be tried again now, and the time until the next, or 0 if there is none.
func (b *Bin) due() (names []string, wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock.Now()
	for name, s := range b.stuck {
		left := s.due.Sub(now)
		if left <= 0 {
			names = append(names, name)
		} else if wait == 0 || left < wait {
			wait = left
		}
	}
	return names, wait
}

// Stuck returns what could not be removed, in the order of the paths.
func (b *Bin) Stuck() []Item {
	b.mu.Lock()
	defer b.mu.Unlock()
	items := make([]Item, 0, len(b.stuck))
	for _, s := range b.stuck {
		items = append(items, s.item)
	}
	slices.SortFunc(items, func(a, b Item) int { return strings.Compare(a.Path, b.Path) })
	return items
}

// Empty removes all that is in the trash, and returns how much that was. The error names what cannot be
// removed.
func (b *Bin) Empty(ctx context.Context) (freed filetree.Usage, count int, err error) {
	names, err := b.names()
	if err != nil {
		return filetree.Usage{}, 0, fmt.Errorf("empty the trash: %w", err)
	}
	var errs []error
	for _, name := range names {
		path := filepath.Join(b.dir, name)
		usage, _ := filetree.Measure(ctx, path, measureFiles)
		if err := filetree.Remove(ctx, path); err != nil {
			errs = append(errs, err)
			continue
		}
		b.mu.Lock()
		delete(b.stuck, name)
		b.mu.Unlock()
		freed = freed.Add(usage)
		count++
	}
	return freed, count, errors.Join(errs...)
}

func (b *Bin) names() ([]string, error) { return names(b.dir) }

// names returns what is in the trash in dir.
func names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	found := make([]string, 0, len(entries))
	for _, entry := range entries {
		found = append(found, entry.Name())
	}
	return found, nil
}

// List measures what is in the trash in dir. It changes nothing, so it may be called beside a Bin.
func List(ctx context.Context, dir string) ([]Item, error) {
	found, err := names(dir)
	if err != nil {
		return nil, fmt.Errorf("list the trash: %w", err)
	}
	items := make([]Item, 0, len(found))
	for _, name := range found {
		path := filepath.Join(dir, name)
		usage, err := filetree.Measure(ctx, path, measureFiles)
		items = append(items, Item{Path: path, Usage: usage, Err: err})
	}
	return items, nil
}
