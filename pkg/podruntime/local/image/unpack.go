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
	"math"
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

// Times of files lie between these; the nanoseconds of others do not fit into a file's attributes.
var (
	earliest = time.Unix(0, 0)
	latest   = time.Unix(1<<33, 0)
)

// ErrMalicious says that a layer has an entry that no well-meant image has.
var ErrMalicious = errors.New("layer reaches outside of the image")

type unpackOptions struct {
	bounds     bounds
	keepOwners bool
	// derived: the compressed form of a layer may be made from its content.
	derived bool
}

// layered is an image, of which only the layers count here.
type layered interface {
	Layers() ([]v1.Layer, error)
}

// unpack applies the layers of source, one on another, in a new directory dir.
func unpack(ctx context.Context, source layered, dir string, options unpackOptions) error {
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
		if err := tree.applyLayer(ctx, layer, options.derived); err != nil {
			return fmt.Errorf("layer %d of %d: %w", i+1, len(layers), err)
		}
	}
	return tree.finish()
}

// applyLayer applies one layer and checks that it is the one the image names.
func (t *tree) applyLayer(ctx context.Context, layer v1.Layer, derived bool) error {
	want, err := layer.DiffID()
	if err != nil {
		return err
	}
	content, err := uncompressed(layer, derived)
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

// apply applies the entries of one layer. An error names the entry that it is about, or the last one
// that could be read.
func (t *tree) apply(ctx context.Context, reader *tar.Reader) error {
	t.nextLayer()
	last := ""
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading what follows %q: %w", last, err)
		}
		last = cut(header.Name)
		if err := errors.Join(context.Cause(ctx), t.entry(ctx, header, reader)); err != nil {
			return fmt.Errorf("%q: %w", last, err)
		}
	}
}

func (t *tree) entry(ctx context.Context, header *tar.Header, content io.Reader) error {
	if header.Typeflag == tar.TypeXGlobalHeader {
		return t.bounds.entry("")
	}
	name, err := inside(header.Name)
	if err != nil {
		return err
	}
	if err := t.bounds.entry(path.Base(name)); err != nil {
		return err
	}
	if name == "." {
		if header.Typeflag != tar.TypeDir {
			return fmt.Errorf("%w: the root is no directory", ErrMalicious)
		}
		t.top.setMode(header)
		return t.attributes(name, header)
	}
	target, err := t.spot(name)
	if err != nil {
		return err
	}
	if target.name == opaqueName {
		return t.clear(ctx, target.in)
	}
	if hidden, ok := strings.CutPrefix(target.name, whiteoutPrefix); ok {
		if hidden == "" || hidden == "." || hidden == ".." {
			return fmt.Errorf("%w: whiteout of nothing", ErrMalicious)
		}
		return t.remove(spot{in: target.in, name: hidden})
	}
	return t.create(ctx, target, header, content)
}

// create makes the file of one entry at target.
func (t *tree) create(ctx context.Context, target spot, header *tar.Header, content io.Reader) error {
	if err := t.makeWay(target, header.Typeflag == tar.TypeDir); err != nil {
		return err
	}
	t.markFresh(target)
	at := target.path()
	switch header.Typeflag {
	case tar.TypeDir:
		if err := t.root.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		made, err := target.in.add(target.name)
		if err != nil {
			return err
		}
		made.setMode(header)
	case tar.TypeReg:
		if err := t.file(ctx, at, content); err != nil {
			return err
		}
	case tar.TypeSymlink:
		// Where it points does not matter: whoever follows it is confined.
		if err := t.root.Symlink(header.Linkname, at); err != nil {
			return err
		}
		return t.own(at, header)
	case tar.TypeLink:
		return t.link(at, header.Linkname)
	case tar.TypeFifo:
		if err := t.fifo(at); err != nil {
			return err
		}
	case tar.TypeChar, tar.TypeBlock:
		return nil
	default:
		return fmt.Errorf("entries of type %q are not known", header.Typeflag)
	}
	return t.attributes(at, header)
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
	from, err := t.spot(name)
	if err != nil {
		return err
	}
	return t.root.Link(from.path(), target)
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

// modeOf is the mode that an entry names.
func modeOf(header *tar.Header) fs.FileMode {
	return header.FileInfo().Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
}

// setMode keeps the mode of a directory for the end: until then it stays writable to us.
func (p *place) setMode(header *tar.Header) { p.mode, p.hasMode = modeOf(header), true }

// attributes sets owner, mode and time; in this order, since a change of owner
// clears bits of the mode.
func (t *tree) attributes(target string, header *tar.Header) error {
	if err := t.own(target, header); err != nil {
		return err
	}
	mode := modeOf(header)
	if header.Typeflag == tar.TypeDir {
		mode |= 0o700
	}
	if err := t.root.Chmod(target, mode); err != nil {
		return err
	}
	modified := header.ModTime
	if modified.Before(earliest) || modified.After(latest) {
		modified = earliest
	}
	return t.root.Chtimes(target, modified, modified)
}

func (t *tree) own(target string, header *tar.Header) error {
	if !t.keepOwners {
		return nil
	}
	for _, id := range []int{header.Uid, header.Gid} {
		// The kernel would take what is beyond its 32 bits for another user, and −1 for nobody.
		if id < 0 || int64(id) >= math.MaxUint32 {
			return fmt.Errorf("%w: the owner %d does not exist", ErrMalicious, id)
		}
	}
	return t.root.Lchown(target, header.Uid, header.Gid)
}
