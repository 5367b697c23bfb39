package image

import (
	"context"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Hold says that an image is in use since before the store was opened. It is not
// removed until Release.
func (s *Store) Hold(digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addLocked(digest, 1)
}

// Release ends one use of an image, of Get or Hold. When it was used last is
// written down, for Collect.
func (s *Store) Release(digest string) {
	hash, err := v1.NewHash(digest)
	if err == nil {
		s.touch(hash)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addLocked(digest, -1)
}

// Pin keeps all images until unpin: something is in use of which it is not known
// what.
func (s *Store) Pin() (unpin func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pinned++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pinned--
	}
}

// use takes a use of an image that is here or is about to be. It waits until a
// removal of it is done.
func (s *Store) use(ctx context.Context, digest v1.Hash) error {
	key := digest.String()
	for {
		s.mu.Lock()
		removal := s.removing[key]
		if removal == nil {
			s.addLocked(key, 1)
			s.mu.Unlock()
			s.touch(digest)
			return nil
		}
		s.mu.Unlock()
		select {
		case <-removal:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *Store) addLocked(digest string, count int) {
	if s.used[digest] += count; s.used[digest] <= 0 {
		delete(s.used, digest)
	}
}

// touch notes that an image is used now, if it is here.
func (s *Store) touch(digest v1.Hash) {
	now := s.config.Clock.Now()
	// That fails for an image that is yet to come, which is as good as touched then.
	_ = os.Chtimes(filepath.Join(s.dir(digest), indexName), now, now)
}

// remove removes an image that nothing uses. It returns false if something does.
func (s *Store) remove(ctx context.Context, digest v1.Hash) (bool, error) {
	key := digest.String()
	s.mu.Lock()
	if s.closed || s.pinned > 0 || s.used[key] > 0 || s.removing[key] != nil || s.flights[digestKey(digest)] != nil {
		s.mu.Unlock()
		return false, nil
	}
	done := make(chan struct{})
	s.removing[key] = done
	s.mu.Unlock()
	// By its name at once, so that what is half removed is never taken for an image.
	name, err := s.config.Trash.Put(s.dir(digest), "image-"+digest.Hex)
	s.mu.Lock()
	delete(s.removing, key)
	close(done)
	s.mu.Unlock()
	if err != nil {
		return false, err
	}
	s.config.Trash.Remove(ctx, name)
	return true, nil
}

// digestKey is the key of the flight that unpacks an image.
func digestKey(digest v1.Hash) string { return "digest " + digest.String() }
