package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"
)

// Bounds of the documents that describe an image: its index, manifest and configuration. They are
// held in memory, decoded.
const (
	// maxDocumentBytes is what registries accept.
	maxDocumentBytes = 4 << 20
	// maxDocumentValues bounds the values of a document: "{}," takes 200 bytes once decoded.
	maxDocumentValues = 50_000
	// maxLayers is four times what Docker can mount.
	maxLayers = 512
	// maxIndexes bounds indexes that name each other. Two are in use: a layout's and a platform's.
	maxIndexes = 4
	// maxArchiveOpens bounds the descriptors that one docker archive takes: one for each layer, and
	// one for each link on the way to it.
	maxArchiveOpens = maxLayers + 64
)

// checkDocument refuses a document that is not worth decoding.
func checkDocument(data []byte) error {
	if len(data) > maxDocumentBytes {
		return fmt.Errorf("%w: a document of more than %d bytes", ErrTooLarge, maxDocumentBytes)
	}
	if bytes.Count(data, []byte{','})+bytes.Count(data, []byte{'{'})+bytes.Count(data, []byte{'['}) > maxDocumentValues {
		return fmt.Errorf("%w: a document of more than %d values", ErrTooLarge, maxDocumentValues)
	}
	return nil
}

// readDocument reads a document of a layout. If digest is set, the content must have it.
func readDocument(dir, name string, digest v1.Hash) ([]byte, error) {
	// Not blocking, should it be a pipe.
	file, err := os.OpenFile(filepath.Join(dir, name), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is not a regular file", name))
	}
	data, err := io.ReadAll(io.LimitReader(file, maxDocumentBytes+1))
	if err == nil {
		err = checkDocument(data)
	}
	if err == nil && digest != (v1.Hash{}) {
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != digest.Hex {
			err = errors.New("the content has another digest than its name says")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}

// readBlob reads a document of a layout by its digest.
func readBlob(dir string, digest v1.Hash) ([]byte, error) {
	if digest.Algorithm != "sha256" {
		return nil, fmt.Errorf("%s: only digests of sha256 are supported", digest)
	}
	return readDocument(dir, filepath.Join("blobs", digest.Algorithm, digest.Hex), digest)
}

// checkManifest refuses a manifest whose configuration or layers are beyond the bounds.
func checkManifest(manifest *v1.Manifest) error {
	if size := manifest.Config.Size; size < 0 || size > maxDocumentBytes {
		return fmt.Errorf("%w: a configuration of %d bytes, of at most %d", ErrTooLarge, size, maxDocumentBytes)
	}
	if len(manifest.Layers) > maxLayers {
		return fmt.Errorf("%w: %d layers, of at most %d", ErrTooLarge, len(manifest.Layers), maxLayers)
	}
	return nil
}

// configOf returns the configuration of an image, which is within the bounds.
func configOf(image v1.Image) (*v1.ConfigFile, error) {
	raw, err := image.RawConfigFile()
	if err != nil {
		return nil, fmt.Errorf("reading the image's configuration: %w", err)
	}
	if err := checkDocument(raw); err != nil {
		return nil, fmt.Errorf("reading the image's configuration: %w", err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("reading the image's configuration: %w", err)
	}
	if layers := len(config.RootFS.DiffIDs); layers > maxLayers {
		return nil, fmt.Errorf("%w: %d layers, of at most %d", ErrTooLarge, layers, maxLayers)
	}
	return config, nil
}

// documentTransport bounds the manifests that registries answer with.
type documentTransport struct{ next http.RoundTripper }

func (t documentTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(request)
	if err != nil || request.Method != http.MethodGet || !asksForManifest(request) {
		return response, err
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxDocumentBytes+1))
	if err = errors.Join(err, response.Body.Close()); err == nil {
		err = checkDocument(data)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	response.Body = io.NopCloser(bytes.NewReader(data))
	return response, nil
}

// asksForManifest says so also of a request that follows a redirect.
func asksForManifest(request *http.Request) bool {
	for request.Response != nil && request.Response.Request != nil {
		request = request.Response.Request
	}
	return strings.Contains(request.URL.Path, "/manifests/")
}

// meter bounds what is read of a docker archive, and how often it is open at a time. The library reads
// layers in goroutines of its own.
type meter struct {
	stopped func() error

	mu sync.Mutex
	// left is how many bytes may be read; negative means any number.
	left  int64
	opens int
}

// newMeter returns the meter of an archive whose manifest and configuration are read next.
func newMeter(ctx context.Context) *meter {
	return &meter{stopped: func() error { return context.Cause(ctx) }, left: 3 * maxDocumentBytes}
}

// lift ends the bound on bytes: layers follow, which have bounds of their own.
func (m *meter) lift() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left = -1
}

// take returns how many of n bytes may be read, and counts them.
func (m *meter) take(n int) (int, error) {
	if err := m.stopped(); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.left < 0:
		return n, nil
	case m.left == 0:
		return 0, fmt.Errorf("%w: the archive's manifest and configuration take too many bytes", ErrTooLarge)
	}
	n = int(min(int64(n), m.left))
	m.left -= int64(n)
	return n, nil
}

// open counts one more use of the archive, or one less.
func (m *meter) open(change int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.opens+change > maxArchiveOpens {
		return fmt.Errorf("%w: too many links in the archive", ErrTooLarge)
	}
	m.opens += change
	return nil
}

// opener returns what opens the archive.
func (m *meter) opener(path string) tarball.Opener {
	return func() (io.ReadCloser, error) {
		if err := m.open(1); err != nil {
			return nil, err
		}
		file, err := os.Open(path)
		if err != nil {
			return nil, errors.Join(err, m.open(-1))
		}
		return &meteredFile{File: file, meter: m}, nil
	}
}

// meteredFile can be sought, which is how an archive's reader passes over files.
type meteredFile struct {
	*os.File
	meter  *meter
	closed sync.Once
}

func (f *meteredFile) Read(p []byte) (int, error) {
	n, err := f.meter.take(len(p))
	if err != nil {
		return 0, err
	}
	return f.File.Read(p[:n])
}

func (f *meteredFile) Close() (err error) {
	f.closed.Do(func() { err = f.meter.open(-1) })
	return errors.Join(err, f.File.Close())
}
