package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// maxLinks is how many symbolic links the kernel would follow in one path, and some.
	maxLinks = 64
	// maxDepth bounds nested directories. It is several times what packages have, and few enough for
	// a removal, which holds a descriptor for each level.
	maxDepth = 512
)

// tree is an image being unpacked. Paths are relative to its root, and clean.
type tree struct {
	root       *os.Root
	bounds     bounds
	keepOwners bool
	// top is the root of the directories known to be real.
	top *place
	// layer is the number of the layer being applied, from 1 on.
	layer int
	// fresh has the names in each directory that this layer has made.
	fresh map[*place]map[string]bool
}

// place is a directory that is known to be one: not a symbolic link, nor below one.
type place struct {
	name   string
	parent *place
	dirs   map[string]*place
	// depth is the number of directories above, length that of the bytes of its path.
	depth, length int
	// mode is what the directory gets in the end, if hasMode.
	mode    fs.FileMode
	hasMode bool
	// below is the last layer that made something in the directory, or below it.
	below int
	// cleared is the last layer with an opaque marker for the directory, or for one above it. What
	// is in it was made by this layer or later ones.
	cleared int
}

// spot is where an entry goes: a name in a real directory.
type spot struct {
	in   *place
	name string
}

func (s spot) path() string { return path.Join(s.in.path(), s.name) }

// path is put together each time: those of all directories would take too much memory.
func (p *place) path() string {
	names := make([]string, p.depth)
	for at := p; at.parent != nil; at = at.parent {
		names[at.depth-1] = at.name
	}
	return path.Clean(strings.Join(names, "/"))
}

func newTree(root *os.Root, options unpackOptions) *tree {
	return &tree{root: root, bounds: options.bounds, keepOwners: options.keepOwners, top: &place{}}
}

// nextLayer makes everything there is part of the lower layers.
func (t *tree) nextLayer() {
	t.layer++
	t.fresh = map[*place]map[string]bool{}
}

// inside returns the clean, relative form of a name in a layer.
func inside(name string) (string, error) {
	if len(name) >= unix.PathMax {
		return "", fmt.Errorf("%w: a path of %d bytes", ErrMalicious, len(name))
	}
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

// spot returns where the entry of that clean name goes. Missing directories are made.
func (t *tree) spot(name string) (spot, error) {
	dir, base := path.Split(name)
	in, err := t.directory(dir)
	return spot{in: in, name: base}, err
}

// directory returns the real directory that dir stands for, made if missing.
// Symbolic links on the way are followed as they would be in the container: an
// absolute one starts at the image's root, and none leads out of it.
func (t *tree) directory(dir string) (*place, error) {
	rest, at, links := dir, t.top, 0
	for rest != "" {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			if at.parent != nil {
				at = at.parent
			}
			continue
		}
		if known := at.dirs[part]; known != nil {
			at = known
			continue
		}
		next := spot{in: at, name: part}
		info, err := t.root.Lstat(next.path())
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if at, err = t.makeDirectory(next); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, err
		case info.Mode()&fs.ModeSymlink != 0:
			if links++; links > maxLinks {
				return nil, fmt.Errorf("%w: too many symbolic links", ErrMalicious)
			}
			link, err := t.root.Readlink(next.path())
			if err != nil {
				return nil, err
			}
			if path.IsAbs(link) {
				at = t.top
			}
			rest = link + "/" + rest
		case info.IsDir():
			if at, err = at.add(part); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("%s is no directory", next.path())
		}
	}
	return at, nil
}

// makeDirectory makes a directory that no entry names.
func (t *tree) makeDirectory(s spot) (*place, error) {
	if err := t.bounds.entry(s.name); err != nil {
		return nil, err
	}
	made, err := s.in.add(s.name)
	if err != nil {
		return nil, err
	}
	return made, t.root.Mkdir(made.path(), 0o755)
}

// add returns the directory of that name in p, which is one. It refuses what is nested too deeply.
func (p *place) add(name string) (*place, error) {
	if known := p.dirs[name]; known != nil {
		return known, nil
	}
	// The name is a copy, which does not keep the whole path of an entry in memory.
	added := &place{name: strings.Clone(name), parent: p, depth: p.depth + 1, length: p.length + 1 + len(name)}
	if added.depth > maxDepth || added.length >= unix.PathMax {
		return nil, fmt.Errorf("%w: directories are nested too deeply", ErrMalicious)
	}
	if p.dirs == nil {
		p.dirs = map[string]*place{}
	}
	p.dirs[added.name] = added
	return added, nil
}

// markFresh records that this layer has made what is at s.
func (t *tree) markFresh(s spot) {
	names := t.fresh[s.in]
	if names == nil {
		names = map[string]bool{}
		t.fresh[s.in] = names
	}
	names[strings.Clone(s.name)] = true
	for p := s.in; p != nil && p.below < t.layer; p = p.parent {
		p.below = t.layer
	}
}

// makeWay removes what an entry at s replaces. A directory stays if the entry is one.
func (t *tree) makeWay(s spot, isDir bool) error {
	info, err := t.root.Lstat(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() && isDir {
		return nil
	}
	return t.removeTree(s)
}

// remove does what a whiteout says, to lower layers only.
func (t *tree) remove(s spot) error {
	if t.fresh[s.in][s.name] {
		return nil
	}
	_, err := t.root.Lstat(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return t.removeTree(s)
}

// clear does what an opaque marker says: dir has nothing from lower layers. However many markers a
// layer has, it reads each directory once.
func (t *tree) clear(ctx context.Context, dir *place) error {
	if dir.cleared == t.layer {
		return nil
	}
	dir.cleared = t.layer
	f, err := t.root.Open(dir.path())
	if err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	for _, name := range names {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := t.clearEntry(ctx, spot{in: dir, name: name}); err != nil {
			return err
		}
	}
	return nil
}

// clearEntry removes what is at s, except for what this layer put there before its marker came.
func (t *tree) clearEntry(ctx context.Context, s spot) error {
	dir := s.in.dirs[s.name]
	if t.fresh[s.in][s.name] || (dir != nil && dir.below == t.layer) {
		if dir == nil {
			return nil
		}
		return t.clear(ctx, dir)
	}
	return t.removeTree(s)
}

func (t *tree) removeTree(s spot) error {
	if err := t.root.RemoveAll(s.path()); err != nil {
		return err
	}
	delete(s.in.dirs, s.name)
	return nil
}

// finish gives directories the modes that stood in the way of unpacking.
func (t *tree) finish() error { return t.finishBelow(t.top) }

func (t *tree) finishBelow(dir *place) error {
	// Those below come first: a directory may close the way to them.
	for _, below := range dir.dirs {
		if err := t.finishBelow(below); err != nil {
			return err
		}
	}
	if !dir.hasMode || dir.mode&0o700 == 0o700 {
		return nil
	}
	if err := t.root.Chmod(dir.path(), dir.mode); err != nil {
		return fmt.Errorf("%q: %w", dir.path(), err)
	}
	return nil
}
