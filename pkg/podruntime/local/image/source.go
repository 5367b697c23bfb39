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

// maxErrorBytes bounds what a registry or archive says into a pod's message.
const maxErrorBytes = 400

// open returns the image that ref points at, for this machine's architecture.
// It stays readable as long as scratch is there.
func (s *Store) open(ctx context.Context, ref Reference, scratch string) (v1.Image, error) {
	switch ref.Kind {
	case DockerArchive:
		return openDocker(ref)
	case OCILayout:
		return openLayout(ref.Path, ref.Tag)
	case OCIArchive:
		bounds := bounds{bytes: s.config.MaxBytes, entries: s.config.MaxEntries}
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

func openDocker(ref Reference) (v1.Image, error) {
	if ref.Tag == "" {
		image, err := tarball.ImageFromPath(ref.Path, nil)
		if err != nil {
			return nil, fmt.Errorf("reading the archive: %w", err)
		}
		return image, nil
	}
	tag, err := name.NewTag(ref.Tag)
	if err != nil {
		return nil, fmt.Errorf("tag %q: %w", ref.Tag, err)
	}
	image, err := tarball.ImageFromPath(ref.Path, &tag)
	if err != nil {
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	return image, nil
}

// openLayout returns the image of that tag, or the only one for this machine.
func openLayout(dir, tag string) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the OCI layout: %w", err)
	}
	return pick(index, tag)
}

func pick(index v1.ImageIndex, tag string) (v1.Image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("reading the index: %w", err)
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
		return nil, fmt.Errorf("holds no image %q for %s", tag, platform())
	case len(found) == 0:
		return nil, fmt.Errorf("holds no image for %s", platform())
	case len(found) > 1:
		return nil, fmt.Errorf("holds %d images: name one by a tag", len(found))
	}
	if found[0].MediaType.IsIndex() {
		inner, err := index.ImageIndex(found[0].Digest)
		if err != nil {
			return nil, fmt.Errorf("reading the index: %w", err)
		}
		return pick(inner, "")
	}
	return index.Image(found[0].Digest)
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
	reader := tar.NewReader(file)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := errors.Join(context.Cause(ctx), bounds.entry()); err != nil {
			return err
		}
		clean := path.Clean(header.Name)
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if err := root.MkdirAll(path.Dir(clean), 0o700); err != nil {
			return err
		}
		out, err := root.OpenFile(clean, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		if err := errors.Join(bounds.copy(ctx, out, reader), out.Close()); err != nil {
			return err
		}
	}
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
