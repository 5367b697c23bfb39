package image

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// maxLinks is how many symbolic links the kernel would follow in one path, and some.
const maxLinks = 64

// tree is an image being unpacked. Paths are relative to its root, and clean.
type tree struct {
	root       *os.Root
	bounds     bounds
	keepOwners bool
	// real are directories known to be no symbolic links, nor below one.
	real map[string]bool
	// fresh are the paths that the layer under way has made.
	fresh map[string]bool
	// modes are what directories get in the end.
	modes map[string]fs.FileMode
}

func newTree(root *os.Root, options unpackOptions) *tree {
	return &tree{
		root: root, bounds: options.bounds, keepOwners: options.keepOwners,
		real: map[string]bool{".": true}, modes: map[string]fs.FileMode{},
	}
}

// inside returns the clean, relative form of a name in a layer.
func inside(name string) (string, error) {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("%w: a path with %q", ErrMalicious, part)
		}
	}
	if strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("%w: a path with a zero byte", ErrMalicious)
	}
	return path.Clean("./" + strings.TrimLeft(name, "/")), nil
}

// directory returns the real directory that dir stands for, made if missing.
// Symbolic links on the way are followed as they would be in the container: an
// absolute one starts at the image's root, and none leads out of it.
func (t *tree) directory(dir string) (string, error) {
	dir = path.Clean(dir)
	if t.real[dir] {
		return dir, nil
	}
	rest, at, links := dir, ".", 0
	for rest != "" {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		info, err := t.root.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if err := t.root.Mkdir(next, 0o755); err != nil {
				return "", err
			}
			at = next
		case err != nil:
			return "", err
		case info.Mode()&fs.ModeSymlink != 0:
			if links++; links > maxLinks {
				return "", fmt.Errorf("%w: too many symbolic links", ErrMalicious)
			}
			link, err := t.root.Readlink(next)
			if err != nil {
				return "", err
			}
			if path.IsAbs(link) {
				at = "."
			}
			rest = link + "/" + rest
		case info.IsDir():
			at = next
		default:
			return "", fmt.Errorf("%s is no directory", next)
		}
	}
	if at == dir {
		t.real[dir] = true
	}
	return at, nil
}

// makeWay removes what an entry at target replaces. A directory stays if the
// entry is one.
func (t *tree) makeWay(target string, isDir bool) error {
	info, err := t.root.Lstat(target)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() && isDir {
		return nil
	}
	return t.removeTree(target, info.IsDir())
}

// remove does what a whiteout says, to lower layers only.
func (t *tree) remove(target string) error {
	if t.fresh[target] {
		return nil
	}
	info, err := t.root.Lstat(target)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return t.removeTree(target, info.IsDir())
}

// clear does what an opaque marker says: dir has nothing from lower layers.
func (t *tree) clear(dir string) error {
	f, err := t.root.Open(dir)
	if err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	for _, name := range names {
		if err := t.clearEntry(path.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// clearEntry removes target, except for what the layer under way put there
// before its marker came.
func (t *tree) clearEntry(target string) error {
	info, err := t.root.Lstat(target)
	if err != nil {
		return err
	}
	if t.fresh[target] {
		if info.IsDir() {
			return t.clear(target)
		}
		return nil
	}
	if info.IsDir() && t.holdsFresh(target) {
		return t.clear(target)
	}
	return t.removeTree(target, info.IsDir())
}

func (t *tree) holdsFresh(dir string) bool {
	for name := range t.fresh {
		if strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	return false
}

func (t *tree) removeTree(target string, isDir bool) error {
	if err := t.root.RemoveAll(target); err != nil {
		return err
	}
	if isDir {
		forget(t.real, target)
		forget(t.modes, target)
	}
	return nil
}

// forget drops what is known of dir and all below it.
func forget[V any](known map[string]V, dir string) {
	for name := range known {
		if name == dir || strings.HasPrefix(name, dir+"/") {
			delete(known, name)
		}
	}
}

// finish gives directories the modes that stood in the way of unpacking.
func (t *tree) finish() error {
	// Those below come first: a directory may close the way to them.
	dirs := slices.Sorted(maps.Keys(t.modes))
	for _, dir := range slices.Backward(dirs) {
		mode := t.modes[dir]
		if mode&0o700 == 0o700 {
			continue
		}
		if err := t.root.Chmod(dir, mode); err != nil {
			return fmt.Errorf("%q: %w", dir, err)
		}
	}
	return nil
}
