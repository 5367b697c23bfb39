package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Stored is an image that is kept in a store.
type Stored struct {
	Digest v1.Hash
	// References name it, as they were last fetched.
	References []string
	// UsedAt is when it was last used.
	UsedAt time.Time
	// Bytes is the disk space that it takes.
	Bytes int64
}

// List returns the images of the store in dir, those used least recently first.
// It reads and changes nothing, so it may be called beside an open store. If
// there is no store, it returns nothing.
func List(dir string) ([]Stored, error) { return list(dir, diskUsage) }

func list(dir string, measure func(dir string) (int64, error)) ([]Stored, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	names, err := references(dir)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var found []Stored
	for _, entry := range entries {
		digest, err := v1.NewHash(strings.Replace(entry.Name(), "-", ":", 1))
		if err != nil || !entry.IsDir() {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, entry.Name(), indexName))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list images: %w", err)
		}
		bytes, err := measure(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("list images: %w", err)
		}
		found = append(found, Stored{Digest: digest, References: names[digest], UsedAt: info.ModTime(), Bytes: bytes})
	}
	slices.SortFunc(found, func(a, b Stored) int { return a.UsedAt.Compare(b.UsedAt) })
	return found, nil
}

// references returns what names each image.
func references(dir string) (map[v1.Hash][]string, error) {
	names := map[v1.Hash][]string{}
	err := eachNote(dir, func(_ string, n note) error {
		names[n.Digest] = append(names[n.Digest], n.Reference)
		return nil
	})
	return names, err
}

// eachNote calls fn for each readable note of a reference.
func eachNote(dir string, fn func(path string, n note) error) error {
	entries, err := os.ReadDir(filepath.Join(dir, refsName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(dir, refsName, entry.Name())
		data, err := os.ReadFile(path)
		var n note
		if err != nil || json.Unmarshal(data, &n) != nil {
			continue
		}
		if err := fn(path, n); err != nil {
			return err
		}
	}
	return nil
}

// diskUsage is the space that a directory and all in it take. What goes while it
// is measured counts as nothing.
func diskUsage(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil {
			var info fs.FileInfo
			if info, err = entry.Info(); err == nil {
				if stat, ok := info.Sys().(*syscall.Stat_t); ok {
					total += stat.Blocks * 512 / max(1, linksOf(info, stat))
				}
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return total, err
}

// linksOf is by how many names a file is counted.
func linksOf(info fs.FileInfo, stat *syscall.Stat_t) int64 {
	if info.IsDir() {
		return 1
	}
	return int64(stat.Nlink)
}

// FormatBytes is a size for people.
func FormatBytes(n int64) string {
	switch {
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
