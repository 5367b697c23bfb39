package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/podruntime/local/trash"
)

// Defaults of a Config.
const (
	// DefaultMaxBytes is above the largest images in use, with accelerators' libraries.
	DefaultMaxBytes = 64 << 30
	// DefaultMaxEntries is several times the files of a full distribution.
	DefaultMaxEntries = 4_000_000
	// DefaultPulls keeps a slow image from holding up all others, and the disk usable.
	DefaultPulls = 3
	// DefaultPullTimeout ends a pull that a registry lets hang.
	DefaultPullTimeout = 30 * time.Minute
)

// Names in a Store's directory, besides the images' own.
const (
	tmpName   = "tmp"
	refsName  = "refs"
	trashName = "trash"
	rootName  = "rootfs"
	indexName = "image.json"
)

// ErrNotPresent says that the image is not here, and the policy forbids to fetch it.
var ErrNotPresent = errors.New("image is not present and the pull policy is Never")

// Policy says when to look for an image beyond this machine.
type Policy string

// Policies, with the meaning that Kubernetes gives them.
const (
	Always       Policy = "Always"
	IfNotPresent Policy = "IfNotPresent"
	Never        Policy = "Never"
)

// Config says where images are kept and how they are had. Dir is needed.
type Config struct {
	// Dir belongs to the store alone.
	Dir string
	// KeepOwners: files get the owners that the layers name. Only root can.
	KeepOwners bool
	// Keychain has the credentials of registries; nil means those of ~/.docker/config.json.
	Keychain authn.Keychain
	// Transport reaches registries; nil means remote.DefaultTransport.
	Transport http.RoundTripper
	// Mirrors are asked before the registries that they stand for.
	Mirrors Mirrors
	// MaxBytes and MaxEntries bound an unpacked image; 0 means the default.
	MaxBytes   int64
	MaxEntries int
	// ReserveBytes are kept free on the disk: a pull that would take them fails.
	ReserveBytes int64
	// Trash removes what is not needed any more, on the same file system; nil means one in Dir, which
	// nobody runs.
	Trash *trash.Bin
	// Clock says when images are used; nil means the real one.
	Clock clock.WithTicker
}

// Image is one unpacked image.
type Image struct {
	// Digest is that of the manifest.
	Digest string `json:"digest"`
	// Rootfs is the directory; it must not be changed.
	Rootfs string `json:"-"`
	// Config is what the image says about how to run it.
	Config v1.Config `json:"config"`
}

// Store keeps images. It is safe for concurrent use.
type Store struct {
	config Config
	// ctx is that of the pulls, which outlive the calls that ask for them.
	ctx    context.Context
	cancel context.CancelFunc
	slots  chan struct{}
	pulls  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	flights map[string]*flight
	// used counts the uses of each image by its digest, removing has those that
	// are being removed. pinned counts the users of images that are not known.
	used     map[string]int
	removing map[string]chan struct{}
	pinned   int
	// pulled has an entry after an image was unpacked.
	pulled chan struct{}
}

// flight is a pull under way. The fields are set before done is closed.
type flight struct {
	done  chan struct{}
	image Image
	err   error
	// waiters are those who wait for it, and get a use of the image each.
	// Guarded by Store.mu.
	waiters int
}

// Open opens the store in config.Dir and removes what unfinished pulls left there.
func Open(config Config) (*Store, error) {
	if config.Keychain == nil {
		config.Keychain = authn.DefaultKeychain
	}
	if config.Transport == nil {
		config.Transport = remote.DefaultTransport
	}
	if config.MaxBytes == 0 {
		config.MaxBytes = DefaultMaxBytes
	}
	if config.Clock == nil {
		config.Clock = clock.RealClock{}
	}
	if config.MaxEntries == 0 {
		config.MaxEntries = DefaultMaxEntries
	}
	if config.Trash == nil {
		bin, err := trash.Open(filepath.Join(config.Dir, trashName), config.Clock)
		if err != nil {
			return nil, fmt.Errorf("image store: %w", err)
		}
		config.Trash = bin
	}
	tmp := filepath.Join(config.Dir, tmpName)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		if _, err := config.Trash.Put(tmp, "unfinished-pulls"); err != nil {
			return nil, fmt.Errorf("image store: %w", err)
		}
	}
	for _, name := range []string{tmpName, refsName} {
		if err := os.MkdirAll(filepath.Join(config.Dir, name), 0o700); err != nil {
			return nil, fmt.Errorf("image store: %w", err)
		}
	}
	s := &Store{config: config, slots: make(chan struct{}, DefaultPulls), flights: map[string]*flight{},
		used: map[string]int{}, removing: map[string]chan struct{}{}, pulled: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Close ends all pulls and waits for them. Get fails afterwards.
func (s *Store) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.pulls.Wait()
}

// Get returns an image, fetched and unpacked if need be. The image is in use, and
// is not removed, until the caller passes its digest to Release. Callers who ask
// for the same at the same time share one pull, which goes on if one of them
// gives up.
func (s *Store) Get(ctx context.Context, ref Reference, policy Policy) (Image, error) {
	if policy == "" {
		policy = IfNotPresent
		if ref.Floating() {
			policy = Always
		}
	}
	if policy != Always || ref.Kind != Registry {
		if image, ok := s.local(ctx, ref); ok {
			return image, nil
		}
		if policy == Never && ref.Kind == Registry {
			return Image{}, fmt.Errorf("image %q: %w", ref.Text, ErrNotPresent)
		}
	}
	image, err := s.share(ctx, "ref "+ref.Text, true, func(ctx context.Context) (Image, error) { return s.fetch(ctx, ref) })
	if err != nil {
		return Image{}, fmt.Errorf("image %q: %w", ref.Text, shorten(err))
	}
	return image, nil
}

// share runs work once for all who ask for key meanwhile. If use is set, work
// returns an image in use, and so has each who asks.
func (s *Store) share(ctx context.Context, key string, use bool, work func(context.Context) (Image, error)) (Image, error) {
	s.mu.Lock()
	f, ok := s.flights[key]
	if !ok {
		if s.closed {
			s.mu.Unlock()
			return Image{}, errors.New("the image store is closed")
		}
		f = &flight{done: make(chan struct{})}
		s.flights[key] = f
		s.pulls.Go(func() {
			ctx, cancel := context.WithTimeoutCause(s.ctx, DefaultPullTimeout,
				fmt.Errorf("not finished after %v", DefaultPullTimeout))
			defer cancel()
			f.image, f.err = work(ctx)
			s.mu.Lock()
			delete(s.flights, key)
			if use && f.err == nil {
				// The use that work has taken goes over to those who wait.
				s.addLocked(f.image.Digest, f.waiters-1)
			}
			close(f.done)
			s.mu.Unlock()
		})
	}
	f.waiters++
	s.mu.Unlock()
	select {
	case <-f.done:
		return f.image, f.err
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-f.done:
		if use && f.err == nil {
			s.addLocked(f.image.Digest, -1)
		}
	default:
		f.waiters--
	}
	return Image{}, context.Cause(ctx)
}

// fetch gets an image from where its reference points and unpacks it, unless
// an image of the same digest is here. The image is in use if there is no error.
func (s *Store) fetch(ctx context.Context, ref Reference) (_ Image, err error) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return Image{}, context.Cause(ctx)
	}
	defer func() { <-s.slots }()

	identity, err := identify(ref)
	if err != nil {
		return Image{}, err
	}
	scratch, err := os.MkdirTemp(filepath.Join(s.config.Dir, tmpName), "pull-")
	if err != nil {
		return Image{}, fmt.Errorf("making room: %w", err)
	}
	defer s.discard(scratch)
	source, err := s.open(ctx, ref, scratch)
	if err != nil {
		return Image{}, err
	}
	digest, err := source.Digest()
	if err != nil {
		return Image{}, fmt.Errorf("reading the manifest: %w", err)
	}
	if err := s.use(ctx, digest); err != nil {
		return Image{}, err
	}
	defer func() {
		if err != nil {
			s.Release(digest.String())
		}
	}()
	image, err := s.load(digest)
	if errors.Is(err, fs.ErrNotExist) {
		// Two references to one image unpack it once.
		image, err = s.share(ctx, digestKey(digest), false, func(ctx context.Context) (Image, error) {
			return s.unpack(ctx, source, digest, ref.Kind == DockerArchive)
		})
	}
	if err != nil {
		return Image{}, err
	}
	return image, s.remember(ref, identity, digest)
}

// unpack puts an image under its name, complete or not at all.
func (s *Store) unpack(ctx context.Context, source v1.Image, digest v1.Hash, derived bool) (Image, error) {
	config, err := configOf(source)
	if err != nil {
		return Image{}, err
	}
	next, err := os.MkdirTemp(filepath.Join(s.config.Dir, tmpName), "unpack-")
	if err != nil {
		return Image{}, fmt.Errorf("making room: %w", err)
	}
	defer s.discard(next) // nothing is there after the rename
	bounds := bounds{bytes: s.config.MaxBytes, entries: s.config.MaxEntries, free: s.free}
	if err := unpack(ctx, source, filepath.Join(next, rootName), unpackOptions{bounds: bounds, keepOwners: s.config.KeepOwners, derived: derived}); err != nil {
		return Image{}, err
	}
	data, err := json.Marshal(Image{Digest: digest.String(), Config: config.Config})
	if err != nil {
		return Image{}, fmt.Errorf("encoding the image's configuration: %w", err)
	}
	if err := os.WriteFile(filepath.Join(next, indexName), data, 0o600); err != nil {
		return Image{}, fmt.Errorf("writing the image's configuration: %w", err)
	}
	if err := publish(next, s.dir(digest)); err != nil {
		return Image{}, err
	}
	select {
	case s.pulled <- struct{}{}:
	default:
	}
	return s.load(digest)
}

// free returns what the disk has left beside its reserve.
func (s *Store) free() (int64, error) {
	disk, err := DiskOf(s.config.Dir)
	return int64(disk.Free) - s.config.ReserveBytes, err
}

// discard removes what a pull leaves. What stays is removed after the next Open.
func (s *Store) discard(dir string) {
	if err := s.config.Trash.Discard(s.ctx, dir, filepath.Base(dir)); err != nil {
		klog.FromContext(s.ctx).Error(err, "What a pull has left cannot be removed")
	}
}

func (s *Store) dir(digest v1.Hash) string {
	return filepath.Join(s.config.Dir, digest.Algorithm+"-"+digest.Hex)
}

// load returns the image of that digest, or fs.ErrNotExist.
func (s *Store) load(digest v1.Hash) (Image, error) {
	data, err := os.ReadFile(filepath.Join(s.dir(digest), indexName))
	if err != nil {
		return Image{}, err
	}
	var image Image
	if err := json.Unmarshal(data, &image); err != nil {
		return Image{}, fmt.Errorf("unpacked image %s is damaged; remove %s: %w", digest, s.dir(digest), err)
	}
	image.Rootfs = filepath.Join(s.dir(digest), rootName)
	return image, nil
}

// note is what a Store remembers of a reference.
type note struct {
	Reference string  `json:"reference"`
	Identity  string  `json:"identity,omitempty"`
	Digest    v1.Hash `json:"digest"`
}

func (s *Store) notePath(ref Reference) string {
	sum := sha256.Sum256([]byte(ref.Text))
	return filepath.Join(s.config.Dir, refsName, hex.EncodeToString(sum[:])+".json")
}

// remember notes which image a reference named.
func (s *Store) remember(ref Reference, identity string, digest v1.Hash) error {
	data, err := json.Marshal(note{Reference: ref.Text, Identity: identity, Digest: digest})
	if err != nil {
		return fmt.Errorf("encoding the reference: %w", err)
	}
	next, err := os.CreateTemp(filepath.Join(s.config.Dir, tmpName), "ref-")
	if err != nil {
		return fmt.Errorf("noting the reference: %w", err)
	}
	_, err = next.Write(data)
	if err = errors.Join(err, next.Close()); err == nil {
		err = os.Rename(next.Name(), s.notePath(ref))
	}
	if err != nil {
		return fmt.Errorf("noting the reference: %w", errors.Join(err, os.Remove(next.Name())))
	}
	return nil
}

// local returns the image that a reference named when last fetched, if it is
// here and the file it came from is the same. The image is in use then.
func (s *Store) local(ctx context.Context, ref Reference) (Image, bool) {
	data, err := os.ReadFile(s.notePath(ref))
	if err != nil {
		return Image{}, false
	}
	var noted note
	if json.Unmarshal(data, &noted) != nil || noted.Reference != ref.Text {
		return Image{}, false
	}
	identity, err := identify(ref)
	if err != nil || identity != noted.Identity {
		return Image{}, false
	}
	if s.use(ctx, noted.Digest) != nil {
		return Image{}, false
	}
	image, err := s.load(noted.Digest)
	if err != nil {
		s.Release(noted.Digest.String())
	}
	return image, err == nil
}
