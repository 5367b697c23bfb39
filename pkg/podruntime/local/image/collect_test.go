package image

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	testingclock "k8s.io/utils/clock/testing"
)

// collection is a store with images that were used at different times.
type collection struct {
	t     *testing.T
	store *Store
	clock *testingclock.FakeClock
}

func newCollection(t *testing.T) *collection {
	t.Helper()
	clk := testingclock.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	store, err := Open(Config{Dir: t.TempDir(), Clock: clk})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return &collection{t: t, store: store, clock: clk}
}

func digestOf(letter string) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: strings.Repeat(letter, 64)}
}

// put makes an image with a file of a megabyte, which was used so long ago.
func (c *collection) put(letter string, ago time.Duration) {
	c.t.Helper()
	digest := digestOf(letter)
	root := filepath.Join(c.store.dir(digest), rootName)
	if err := os.MkdirAll(root, 0o755); err != nil {
		c.t.Fatal(err)
	}
	index := filepath.Join(c.store.dir(digest), indexName)
	for path, content := range map[string]string{filepath.Join(root, "file"): strings.Repeat("x", 1<<20), index: `{"digest":"` + digest.String() + `"}`} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	if err := c.store.remember(Reference{Text: "image-" + letter}, "", digest); err != nil {
		c.t.Fatal(err)
	}
	used := c.clock.Now().Add(-ago)
	if err := os.Chtimes(index, used, used); err != nil {
		c.t.Fatal(err)
	}
}

// left are the letters of the images that there are, the oldest first.
func (c *collection) left() string {
	c.t.Helper()
	stored, err := List(c.store.config.Dir)
	if err != nil {
		c.t.Fatal(err)
	}
	var letters []string
	for _, s := range stored {
		letters = append(letters, s.Digest.Hex[:1])
		if want := []string{"image-" + s.Digest.Hex[:1]}; !slices.Equal(s.References, want) || s.Bytes < 1<<20 {
			c.t.Errorf("%s is named %v and takes %d bytes, want %v and a megabyte", s.Digest, s.References, s.Bytes, want)
		}
	}
	return strings.Join(letters, "")
}

// collect runs a collection on a disk of 100 MiB of which so much is free.
func (c *collection) collect(marks Watermarks, freeMiB uint64) {
	c.t.Helper()
	collector := NewCollector(c.store, marks)
	collector.disk = func(string) (Disk, error) { return Disk{Capacity: 100 << 20, Free: freeMiB << 20}, nil }
	if err := collector.Collect(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
}

// TestCollectLeastRecentlyUsed fills a disk: above the high watermark the images
// that were used least recently go until the low one is reached, but none that is
// in use, was used a moment ago or is being unpacked.
func TestCollectLeastRecentlyUsed(t *testing.T) {
	marks := Watermarks{HighPercent: 85, LowPercent: 83, MinAge: 2 * time.Minute}
	for _, tt := range []struct {
		name    string
		marks   Watermarks
		freeMiB uint64
		prepare func(c *collection)
		want    string
	}{
		{"below the high watermark", marks, 16, func(*collection) {}, "abcd"},
		// 15 MiB free; 17 wanted: two images.
		{"down to the low watermark", marks, 15, func(*collection) {}, "cd"},
		{"what is in use stays", marks, 15, func(c *collection) { c.store.Hold(digestOf("a").String()) }, "ad"},
		{"what was used a moment ago stays", marks, 0, func(*collection) {}, "d"},
		{"everything stays while it is not known what is in use", marks, 0, func(c *collection) { c.store.Pin() }, "abcd"},
		{"what is unpacked stays", marks, 15, func(c *collection) {
			c.store.mu.Lock()
			defer c.store.mu.Unlock()
			c.store.flights[digestKey(digestOf("b"))] = &flight{}
		}, "bd"},
		{"use counts from its end", marks, 15, func(c *collection) {
			c.store.Hold(digestOf("a").String())
			c.store.Release(digestOf("a").String())
		}, "da"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCollection(t)
			for letter, ago := range map[string]time.Duration{"a": 4 * time.Hour, "b": 3 * time.Hour, "c": 2 * time.Hour, "d": time.Minute} {
				c.put(letter, ago)
			}
			tt.prepare(c)
			c.collect(tt.marks, tt.freeMiB)
			if got := c.left(); got != tt.want {
				t.Errorf("images %q are left, want %q", got, tt.want)
			}
		})
	}
}

// TestCollectForgetsReferences sees that nothing grows with the images that once were.
func TestCollectForgetsReferences(t *testing.T) {
	c := newCollection(t)
	c.put("a", time.Hour)
	c.put("b", time.Hour)
	freed, count, err := c.store.RemoveUnused(t.Context())
	if err != nil || count != 2 || freed < 2<<20 {
		t.Fatalf("%d images of %d bytes, %v", count, freed, err)
	}
	for _, dir := range []string{refsName, tmpName} {
		entries, err := os.ReadDir(filepath.Join(c.store.config.Dir, dir))
		if err != nil || len(entries) > 0 {
			t.Errorf("%s: %v, %v", dir, entries, err)
		}
	}
}

// TestRemovalAndUseAreOneAfterTheOther has many take and give back an image while
// others remove it: it is never gone while somebody has it.
func TestRemovalAndUseAreOneAfterTheOther(t *testing.T) {
	c := newCollection(t)
	digest := digestOf("a")
	index := filepath.Join(c.store.dir(digest), indexName)
	done := make(chan error, 2)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			if _, err := c.store.remove(t.Context(), digest); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	go func() {
		defer cancel()
		for range 300 {
			if err := c.store.use(ctx, digest); err != nil {
				done <- err
				return
			}
			if _, err := os.Stat(index); err != nil {
				c.put("a", 0) // as an unpack would, while it is in use
			}
			for range 20 {
				if _, err := os.Stat(index); err != nil {
					done <- err
					return
				}
			}
			c.store.Release(digest.String())
		}
		done <- nil
	}()
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}
