// Package file writes and patches files beneath a root, the container's, and
// never outside it. It knows nothing of tasks or of the network.
//
// A path is resolved as if its root were "/": an absolute symbolic link starts
// over at the root. A path that climbs above the root, by itself or through a
// link, is refused with ErrEscapes rather than held at the root as the kernel
// would. What was resolved is then used through os.Root, so that a link that
// somebody puts in place meanwhile leads nowhere outside either.
//
// Files are replaced, not overwritten: a reader sees the old content or the
// new one, whole. A failed write or patch changes nothing, also if the patch is of many files and
// one in the middle fails; only the end of the agent itself can leave it half done. A symbolic link
// to a file is followed and kept; a hard link is broken.
//
// A patch is planned in memory (plan.go, with the package diff), and then carried out by moves that
// can be undone (commit.go).
//
// No goroutine, no lock. Read root.go first, then write.go and patch.go.
package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrEscapes is returned for a path that leads out of the root.
var ErrEscapes = errors.New("path leads out of the container's root")

// maxLinks bounds the symbolic links that one path may go through, as the kernel does.
const maxLinks = 40

// Root is a directory outside of which nothing is touched. It is safe for concurrent use.
type Root struct {
	dir  string
	root *os.Root
	// fault makes the operations of a patch fail, in tests.
	fault func(operation, path string) error
}

// OpenRoot opens a directory as a root. The caller closes it.
func OpenRoot(dir string) (*Root, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the root: %w", err)
	}
	return &Root{dir: dir, root: root}, nil
}

// Close frees the root.
func (r *Root) Close() error { return r.root.Close() }

// Join returns the path, seen from the root, of name in the directory dir. An
// absolute name stands for itself. It is not cleaned: what ".." means depends on links.
func Join(dir, name string) string {
	if path.IsAbs(name) {
		return name
	}
	return dir + "/" + name
}

// MakeDir makes a directory and those above it, unless they are there, and
// returns its path as the operating system knows it. If name leads out
// of the root, returns ErrEscapes.
func (r *Root) MakeDir(name string) (string, error) {
	resolved, err := r.resolve(name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	// Almost always it is there; asking is cheaper than trying to make it.
	info, err := r.root.Stat(resolved)
	if errors.Is(err, fs.ErrNotExist) {
		err = r.root.MkdirAll(resolved, 0o755)
	} else if err == nil && !info.IsDir() {
		err = unix.ENOTDIR
	}
	if err != nil {
		return "", fmt.Errorf("making the directory %s: %w", name, reason(err))
	}
	return filepath.Join(r.dir, resolved), nil
}

// resolve follows all symbolic links of a path, seen from the root, and returns
// it relative to the root and free of links and dots. Components that do not
// exist stand for themselves, also below a file.
func (r *Root) resolve(name string) (string, error) {
	pending := strings.Split(name, "/")
	var done []string
	links := 0
	for len(pending) > 0 {
		component := pending[0]
		pending = pending[1:]
		switch component {
		case "", ".":
			continue
		case "..":
			if len(done) == 0 {
				return "", ErrEscapes
			}
			done = done[:len(done)-1]
			continue
		}
		here := path.Join(append(done[:len(done):len(done)], component)...)
		info, err := r.root.Lstat(here)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
			return "", reason(err)
		}
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			done = append(done, component)
			continue
		}
		if links++; links > maxLinks {
			return "", unix.ELOOP
		}
		target, err := r.root.Readlink(here)
		if err != nil {
			return "", reason(err)
		}
		if path.IsAbs(target) {
			done = nil
		}
		pending = append(strings.Split(target, "/"), pending...)
	}
	return path.Join(append([]string{"."}, done...)...), nil
}

// resolveParent resolves a path but for its last component, which may be a symbolic link.
func (r *Root) resolveParent(name string) (string, error) {
	dir, base := path.Split(strings.TrimRight(name, "/"))
	if base == "" || base == "." || base == ".." {
		return r.resolve(name)
	}
	resolved, err := r.resolve(dir)
	return path.Join(resolved, base), err
}

// reason strips the paths of the agent's making from an error of the operating system.
func reason(err error) error {
	var pathError *fs.PathError
	var linkError *os.LinkError
	switch {
	case errors.As(err, &pathError):
		return pathError.Err
	case errors.As(err, &linkError):
		return linkError.Err
	}
	return err
}
