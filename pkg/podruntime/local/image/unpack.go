package image

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// Names of entries that remove what lower layers have.
const (
	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
)

// ErrMalicious says that a layer has an entry that no well-meant image has.
var ErrMalicious = errors.New("layer reaches outside of the image")

type unpackOptions struct {
	bounds     bounds
	keepOwners bool
}

// unpack applies the layers of source, one on another, in a new directory dir.
func unpack(ctx context.Context, source v1.Image, dir string, options unpackOptions) error {
	layers, err := source.Layers()
	if err != nil {
		return fmt.Errorf("reading the layers: %w", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	tree := newTree(root, options)
	for i, layer := range layers {
		if err := tree.applyLayer(ctx, layer); err != nil {
			return fmt.Errorf("layer %d of %d: %w", i+1, len(layers), err)
		}
	}
	return tree.finish()
}

// applyLayer applies one layer and checks that it is the one the image names.
func (t *tree) applyLayer(ctx context.Context, layer v1.Layer) error {
	want, err := layer.DiffID()
	if err != nil {
		return err
	}
	content, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer content.Close()
	sum := sha256.New()
	hashed := io.TeeReader(content, sum)
	if err := t.apply(ctx, tar.NewReader(hashed)); err != nil {
		return err
	}
	// What follows the end of the archive belongs to the digest.
	if err := t.bounds.copy(ctx, io.Discard, hashed); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want.Hex {
		return fmt.Errorf("content has digest sha256:%s, the image says %s", got, want)
	}
	return nil
}

// apply applies the entries of one layer.
func (t *tree) apply(ctx context.Context, reader *tar.Reader) error {
	t.fresh = map[string]bool{}
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the layer: %w", err)
		}
		if err := errors.Join(context.Cause(ctx), t.bounds.entry()); err != nil {
			return err
		}
		if err := t.entry(ctx, header, reader); err != nil {
			return fmt.Errorf("%q: %w", header.Name, err)
		}
	}
}

func (t *tree) entry(ctx context.Context, header *tar.Header, content io.Reader) error {
	if header.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := inside(header.Name)
	if err != nil {
		return err
	}
	if name == "." {
		return t.attributes(name, header)
	}
	dir, base := path.Split(name)
	parent, err := t.directory(dir)
	if err != nil {
		return err
	}
	if base == opaqueName {
		return t.clear(parent)
	}
	if hidden, ok := strings.CutPrefix(base, whiteoutPrefix); ok {
		if hidden == "" || hidden == "." || hidden == ".." {
			return fmt.Errorf("%w: whiteout of nothing", ErrMalicious)
		}
		return t.remove(path.Join(parent, hidden))
	}
	return t.create(ctx, path.Join(parent, base), header, content)
}

// create makes the file of one entry at target, whose parents are real directories.
func (t *tree) create(ctx context.Context, target string, header *tar.Header, content io.Reader) error {
	if err := t.makeWay(target, header.Typeflag == tar.TypeDir); err != nil {
		return err
	}
	t.fresh[target] = true
	switch header.Typeflag {
	case tar.TypeDir:
		if err := t.root.Mkdir(target, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	case tar.TypeReg:
		if err := t.file(ctx, target, content); err != nil {
			return err
		}
	case tar.TypeSymlink:
		// Where it points does not matter: whoever follows it is confined.
		if err := t.root.Symlink(header.Linkname, target); err != nil {
			return err
		}
		return t.own(target, header)
	case tar.TypeLink:
		return t.link(target, header.Linkname)
	case tar.TypeFifo:
		if err := t.fifo(target); err != nil {
			return err
		}
	case tar.TypeChar, tar.TypeBlock:
		return nil
	default:
		return fmt.Errorf("entries of type %q are not known", header.Typeflag)
	}
	return t.attributes(target, header)
}

func (t *tree) file(ctx context.Context, target string, content io.Reader) error {
	out, err := t.root.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(t.bounds.copy(ctx, out, content), out.Close())
}

func (t *tree) link(target, linkname string) error {
	name, err := inside(linkname)
	if err != nil {
		return err
	}
	dir, base := path.Split(name)
	parent, err := t.directory(dir)
	if err != nil {
		return err
	}
	return t.root.Link(path.Join(parent, base), target)
}

func (t *tree) fifo(target string) error {
	parent, err := t.root.Open(path.Dir(target))
	if err != nil {
		return err
	}
	defer parent.Close()
	if err := unix.Mkfifoat(int(parent.Fd()), path.Base(target), 0o600); err != nil {
		return &os.PathError{Op: "mkfifoat", Path: target, Err: err}
	}
	return nil
}

// attributes sets owner, mode and time; in this order, since a change of owner
// clears bits of the mode.
func (t *tree) attributes(target string, header *tar.Header) error {
	if err := t.own(target, header); err != nil {
		return err
	}
	mode := header.FileInfo().Mode()
	mode &= fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	if header.Typeflag == tar.TypeDir {
		// A directory must stay writable to us until all layers are applied.
		t.modes[target] = mode
		mode |= 0o700
	}
	if err := t.root.Chmod(target, mode); err != nil {
		return err
	}
	modified := header.ModTime
	if modified.Before(time.Unix(0, 0)) {
		modified = time.Unix(0, 0)
	}
	return t.root.Chtimes(target, modified, modified)
}

func (t *tree) own(target string, header *tar.Header) error {
	if !t.keepOwners {
		return nil
	}
	return t.root.Lchown(target, header.Uid, header.Gid)
}
