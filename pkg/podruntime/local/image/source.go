package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// tagAnnotation names an image of an OCI layout.
const tagAnnotation = "org.opencontainers.image.ref.name"

// layoutFile matches the files of an OCI layout that are read.
var layoutFile = regexp.MustCompile(`^(index\.json|blobs/[a-z0-9]+/[a-f0-9]+)$`)

// maxErrorBytes bounds what a registry or archive says into a pod's message.
const maxErrorBytes = 400

// open returns the image that ref points at, for this machine's architecture.
// It stays readable as long as scratch is there.
func (s *Store) open(ctx context.Context, ref Reference, scratch string) (v1.Image, error) {
	switch ref.Kind {
	case DockerArchive:
		return openDocker(ctx, ref)
	case OCILayout:
		return openLayout(ref.Path, ref.Tag)
	case OCIArchive:
		bounds := bounds{bytes: s.config.MaxBytes, entries: s.config.MaxEntries, free: s.free}
		if err := extractArchive(ctx, ref.Path, scratch, &bounds); err != nil {
			return nil, fmt.Errorf("reading the archive: %w", err)
		}
		return openLayout(scratch, ref.Tag)
	default:
		return s.openRemote(ctx, ref.Remote)
	}
}

func platform() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }

// identify returns what changes when the file of a reference does.
func identify(ref Reference) (string, error) {
	if ref.Kind == Registry {
		return "", nil
	}
	file := ref.Path
	if ref.Kind == OCILayout {
		file = filepath.Join(file, "index.json")
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d bytes, %d", info.Size(), info.ModTime().UnixNano()), nil
}

func openDocker(ctx context.Context, ref Reference) (v1.Image, error) {
	var tag *name.Tag
	if ref.Tag != "" {
		named, err := name.NewTag(ref.Tag)
		if err != nil {
			return nil, fmt.Errorf("tag %q: %w", ref.Tag, err)
		}
		tag = &named
	}
	meter := newMeter(ctx)
	image, err := tarball.Image(meter.opener(ref.Path), tag)
	if err != nil {
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	meter.lift()
	_, err = configOf(image)
	return image, err
}

// openLayout returns the image of that tag, or the only one for this machine.
func openLayout(dir, tag string) (v1.Image, error) {
	if _, err := readDocument(dir, "index.json", v1.Hash{}); err != nil {
		return nil, fmt.Errorf("reading the OCI layout: %w", err)
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the OCI layout: %w", err)
	}
	descriptor, err := pick(index, tag)
	for range maxIndexes {
		if err != nil {
			return nil, err
		}
		if _, err := readBlob(dir, descriptor.Digest); err != nil {
			return nil, fmt.Errorf("reading the OCI layout: %w", err)
		}
		if descriptor.MediaType.IsImage() {
			return openLayoutImage(dir, index, descriptor.Digest)
		}
		if index, err = index.ImageIndex(descriptor.Digest); err != nil {
			return nil, fmt.Errorf("reading the index: %w", err)
		}
		descriptor, err = pick(index, "")
	}
	return nil, errors.Join(err, fmt.Errorf("%w: more than %d indexes on the way to the image", ErrTooLarge, maxIndexes))
}

func openLayoutImage(dir string, index v1.ImageIndex, digest v1.Hash) (v1.Image, error) {
	image, err := index.Image(digest)
	if err != nil {
		return nil, err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	if err := checkManifest(manifest); err != nil {
		return nil, err
	}
	if _, err := readBlob(dir, manifest.Config.Digest); err != nil {
		return nil, fmt.Errorf("reading the image's configuration: %w", err)
	}
	return image, nil
}

// pick returns which image, or index, of an index is meant.
func pick(index v1.ImageIndex, tag string) (v1.Descriptor, error) {
	none := v1.Descriptor{}
	manifest, err := index.IndexManifest()
	if err != nil {
		return none, fmt.Errorf("reading the index: %w", err)
	}
	var found []v1.Descriptor
	for _, descriptor := range manifest.Manifests {
		if tag != "" && descriptor.Annotations[tagAnnotation] != tag {
			continue
		}
		if descriptor.Platform != nil && !descriptor.Platform.Satisfies(platform()) {
			continue
		}
		if descriptor.MediaType.IsImage() || descriptor.MediaType.IsIndex() {
			found = append(found, descriptor)
		}
	}
	switch {
	case len(found) == 0 && tag != "":
		return none, fmt.Errorf("holds no image %q for %s", tag, platform())
	case len(found) == 0:
		return none, fmt.Errorf("holds no image for %s", platform())
	case len(found) > 1:
		return none, fmt.Errorf("holds %d images: name one by a tag", len(found))
	}
	return found[0], nil
}

// extractArchive unpacks the files of an OCI archive, which are blobs and an
// index and nothing else.
func extractArchive(ctx context.Context, archive, dir string, bounds *bounds) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	reader, last := tar.NewReader(file), ""
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading what follows %q: %w", last, err)
		}
		last = cut(header.Name)
		if err := errors.Join(context.Cause(ctx), extractEntry(ctx, root, header, reader, bounds)); err != nil {
			return fmt.Errorf("%q: %w", last, err)
		}
	}
}

// extractEntry writes one file of an OCI archive. Those that no layout has are left out.
func extractEntry(ctx context.Context, root *os.Root, header *tar.Header, content io.Reader, bounds *bounds) error {
	if err := bounds.entry(header.Name); err != nil {
		return err
	}
	name := path.Clean(header.Name)
	if header.Typeflag != tar.TypeReg || !layoutFile.MatchString(name) {
		return nil
	}
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	out, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(bounds.copy(ctx, out, content), out.Close())
}

// shorten makes the cause of a failure fit into a pod's message.
func shorten(err error) error {
	var refused *transport.Error
	if errors.As(err, &refused) && len(refused.Errors) > 0 {
		first := refused.Errors[0]
		return fmt.Errorf("the registry answered %d %s: %s", refused.StatusCode, first.Code, cut(first.Message))
	}
	if text := err.Error(); len(text) > maxErrorBytes || strings.ContainsRune(text, '\n') {
		return errors.New(cut(text))
	}
	return err
}

func cut(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxErrorBytes {
		text = strings.ToValidUTF8(text[:maxErrorBytes], "") + "…"
	}
	return text
}
