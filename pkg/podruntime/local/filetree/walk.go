package filetree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// openLevels are the levels whose directories stay open, so that a walk finds back to them even
	// if somebody moves what is below. Deeper ones are found again as "..".
	openLevels = 64
	// namedLevels are the levels that an error names.
	namedLevels = 12
)

// errMoved says that a directory was moved elsewhere during the walk.
var errMoved = errors.New("directories are moved while they are walked")

// frame is a directory above the current one.
type frame struct {
	inode uint64
	// resume is the position before the entry that the walk went into, or after it.
	resume int64
	// state is what the walk keeps of the directory.
	state state
}

// state of a directory that is walked.
type state struct {
	visits          uint16
	removed, failed bool
}

// walk is a position in a tree.
type walk struct {
	// force makes directories accessible.
	force bool
	root  string
	// parent is the directory that holds the root, name the root's name in it.
	parent int
	name   string
	mount  uint64

	cur    *dir
	frames []frame
	// fds are the open directories of the first frames, names the entries that they were left by.
	fds    []int
	names  []string
	buffer []byte
}

// openParent opens the directory that holds root.
func openParent(root string) (*os.File, error) {
	return os.OpenFile(filepath.Dir(root), unix.O_PATH|unix.O_DIRECTORY, 0)
}

// begin opens the directory name in parent, which the caller keeps open until close. If name is no
// directory, it returns unix.ENOTDIR or unix.ELOOP.
func begin(parent *os.File, name string, force bool) (*walk, error) {
	w := &walk{force: force, parent: int(parent.Fd()), name: name, buffer: make([]byte, bufferBytes)}
	w.root = filepath.Join(parent.Name(), name)
	var err error
	w.cur, err = openDir(w.parent, w.name, force)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: w.root, Err: err}
	}
	w.mount = w.cur.mount
	return w, nil
}

func (w *walk) close() {
	if w.cur != nil {
		unix.Close(w.cur.fd)
	}
	for _, fd := range w.fds {
		unix.Close(fd)
	}
}

// next returns the next entry of the current directory.
func (w *walk) next() (entry, bool, error) { return w.cur.next(w.buffer) }

// open opens a directory of the current one, unless it is of another mount.
func (w *walk) open(name string) (*dir, error) {
	d, err := openDir(w.cur.fd, name, w.force)
	if err != nil {
		return nil, err
	}
	if d.mount != w.mount {
		unix.Close(d.fd)
		return nil, ErrMountPoint
	}
	return d, nil
}

// enter makes child the current directory. The one above goes on at resume when the walk is back.
func (w *walk) enter(child *dir, name string, resume int64, s state) {
	w.frames = append(w.frames, frame{inode: w.cur.inode, resume: resume, state: s})
	if len(w.frames) <= openLevels {
		w.fds = append(w.fds, w.cur.fd)
	} else {
		unix.Close(w.cur.fd)
	}
	if len(w.frames) <= namedLevels {
		w.names = append(w.names, name)
	}
	w.cur = child
}

// leave makes the directory above the current one.
func (w *walk) leave() (state, error) {
	last := len(w.frames) - 1
	f := w.frames[last]
	fd, err := -1, error(nil)
	if last < openLevels {
		fd = w.fds[last]
		w.fds = w.fds[:last]
	} else if fd, err = w.above(f.inode); err != nil {
		return state{}, err
	}
	unix.Close(w.cur.fd)
	w.cur = &dir{fd: fd, inode: f.inode, mount: w.mount}
	w.frames = w.frames[:last]
	w.names = w.names[:min(len(w.names), last)]
	return f.state, w.cur.seek(f.resume)
}

// above opens the directory above the current one, and checks that it is the one the walk came from.
func (w *walk) above(inode uint64) (int, error) {
	fd, err := openat(w.cur.fd, "..", openFlags)
	if err != nil {
		return -1, err
	}
	st, err := stat(fd, "")
	if err == nil && (st.Ino != inode || mountOf(&st) != w.mount) {
		err = errMoved
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// path names an entry of the current directory. Of a deep one, it names the beginning and the end.
func (w *walk) path(name string) string {
	parts := append([]string{w.root}, w.names...)
	if deeper := len(w.frames) - len(w.names); deeper > 0 {
		parts = append(parts, fmt.Sprintf("(%d levels)", deeper))
	}
	return strings.Join(append(parts, name), "/")
}
