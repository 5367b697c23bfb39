package file

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// transaction changes several files of a directory, or none. What it has done it can undo.
type transaction struct {
	dir *os.Root
	// fault is Root.fault.
	fault func(operation, path string) error
	// staged are the new files before they get their names, by path.
	staged map[string]string
	// aside are the names that old files have until all is done.
	aside []string
	undo  []func() error
}

// commit makes the changes. All new files are written beside their places first, so that what can
// fail for want of space or permission fails before anything is seen. Then files are moved away
// and others into their places; if one of these moves fails, those before are undone.
func (p *patcher) commit(changes []*entry) error {
	tx := &transaction{dir: p.dir, fault: p.root.fault, staged: map[string]string{}}
	err := tx.stage(changes)
	if err == nil && len(changes) == 1 {
		// A single move needs no way back.
		err = tx.single(changes[0])
	} else if err == nil {
		err = tx.moveAll(changes)
	}
	if err != nil {
		err = p.explain(err)
		if undone := tx.rollback(); undone != nil {
			// Old files stay where they are rather than be lost.
			return fmt.Errorf("%w; and it could not be undone, old files are left as .arl-*: %w", err, reason(undone))
		}
	}
	for _, name := range slices.Concat(slices.Collect(maps.Values(tx.staged)), tx.aside) {
		// Most have been moved to their places.
		_ = tx.dir.Remove(name)
	}
	if err == nil && p.many {
		tx.prune(changes)
	}
	return err
}

// rollback undoes what was done, the last first.
func (t *transaction) rollback() error {
	var all []error
	for _, step := range slices.Backward(t.undo) {
		all = append(all, step())
	}
	return errors.Join(all...)
}

// moveError says which file could not be moved.
type moveError struct {
	path string
	err  error
}

// Error returns the message of the cause.
func (e *moveError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *moveError) Unwrap() error { return e.err }

// explain names the file of an error as the user does.
func (p *patcher) explain(err error) error {
	name := ""
	var move *moveError
	if errors.As(err, &move) {
		name = move.path
	}
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%s: is a mount point, which cannot be replaced", p.shown(name))
	}
	return fmt.Errorf("%s: writing: %w", p.shown(name), reason(err))
}

// stage writes all new files.
func (t *transaction) stage(changes []*entry) error {
	for _, each := range changes {
		if each.after == nil {
			continue
		}
		if err := t.fail("stage", each.path); err != nil {
			return err
		}
		temporary := path.Join(t.existingDir(each.path), temporaryName())
		t.staged[each.path] = temporary
		if err := each.after.create(t.dir, temporary); err != nil {
			return &moveError{each.path, err}
		}
	}
	return nil
}

func temporaryName() string { return ".arl-" + rand.Text() }

// existingDir returns the nearest directory above a path that exists.
func (t *transaction) existingDir(name string) string {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if info, err := t.dir.Lstat(dir); err == nil && info.IsDir() {
			return dir
		}
	}
	return "."
}

// fail returns the error that a test wants here.
func (t *transaction) fail(operation, name string) error {
	if t.fault == nil {
		return nil
	}
	if err := t.fault(operation, name); err != nil {
		return &moveError{name, err}
	}
	return nil
}

// create makes a new file or link.
func (n *node) create(dir *os.Root, name string) error {
	if !n.link {
		return fill(dir, name, n.content, n.mode, n.owner)
	}
	if err := dir.Symlink(string(n.content), name); err != nil {
		return err
	}
	if n.owner != nil && !mine(n.owner) {
		return dir.Lchown(name, int(n.owner.Uid), int(n.owner.Gid))
	}
	return nil
}

// single makes the only change there is.
func (t *transaction) single(change *entry) error {
	if change.after == nil {
		if err := t.dir.Remove(change.path); err != nil {
			return &moveError{change.path, err}
		}
		return nil
	}
	if change.onDir {
		return &moveError{change.path, errors.New("is a directory")}
	}
	if err := t.makeDirs(change.path); err != nil {
		return err
	}
	return t.rename(t.staged[change.path], change.path)
}

func (t *transaction) rename(from, to string) error {
	if err := t.dir.Rename(from, to); err != nil {
		return &moveError{to, err}
	}
	return nil
}

// moveAll makes the changes, files that go first: they may be in the way of others.
func (t *transaction) moveAll(changes []*entry) error {
	for _, each := range changes {
		if each.after == nil {
			if err := t.moveAway(each.path); err != nil {
				return err
			}
		}
	}
	for _, each := range changes {
		if each.after != nil && each.onDir {
			if err := t.removeEmptied(each.path, changes); err != nil {
				return err
			}
		}
	}
	for _, each := range changes {
		if each.after != nil {
			if err := t.moveIn(each); err != nil {
				return err
			}
		}
	}
	return nil
}

// moveAway gives a file a name under which it is not found.
func (t *transaction) moveAway(name string) error {
	if err := t.fail("remove", name); err != nil {
		return err
	}
	// Not beside it, for its directory may have to go.
	aside := temporaryName()
	err := t.dir.Rename(name, aside)
	if errors.Is(err, unix.EXDEV) {
		aside = path.Join(path.Dir(name), aside)
		err = t.dir.Rename(name, aside)
	}
	if err != nil {
		return &moveError{name, err}
	}
	t.aside = append(t.aside, aside)
	t.undo = append(t.undo, func() error { return t.dir.Rename(aside, name) })
	return nil
}

// moveIn gives a staged file its name. A file of that name is replaced at once, and kept aside.
func (t *transaction) moveIn(change *entry) error {
	if err := t.fail("place", change.path); err != nil {
		return err
	}
	if err := t.makeDirs(change.path); err != nil {
		return err
	}
	if change.before == nil {
		if err := t.rename(t.staged[change.path], change.path); err != nil {
			return err
		}
		t.undo = append(t.undo, func() error { return t.dir.Remove(change.path) })
		return nil
	}
	aside := path.Join(path.Dir(change.path), temporaryName())
	if err := t.dir.Link(change.path, aside); err != nil {
		// Not every file system has hard links, nor may every user make them.
		if err := t.moveAway(change.path); err != nil {
			return err
		}
		return t.rename(t.staged[change.path], change.path)
	}
	t.aside = append(t.aside, aside)
	if err := t.rename(t.staged[change.path], change.path); err != nil {
		return err
	}
	t.undo = append(t.undo, func() error { return t.dir.Rename(aside, change.path) })
	return nil
}

// makeDirs makes the directories above a path.
func (t *transaction) makeDirs(name string) error {
	made, err := makeDirs(t.dir, path.Dir(name))
	t.undo = append(t.undo, func() error { removeDirs(t.dir, made); return nil })
	if err != nil {
		return &moveError{name, err}
	}
	return nil
}

// removeDir removes an empty directory.
func (t *transaction) removeDir(name string) error {
	info, err := t.dir.Lstat(name)
	if err != nil {
		return err
	}
	if err := t.dir.Remove(name); err != nil {
		return err
	}
	t.undo = append(t.undo, func() error {
		err := t.dir.Mkdir(name, 0o700)
		if owner, ok := info.Sys().(*syscall.Stat_t); ok && err == nil && !mine(owner) {
			err = t.dir.Lchown(name, int(owner.Uid), int(owner.Gid))
		}
		if err == nil {
			err = t.dir.Chmod(name, info.Mode()&keptBits)
		}
		return err
	})
	return nil
}

// removeEmptied removes a directory in whose place a file comes, with those below it that the patch
// has emptied.
func (t *transaction) removeEmptied(name string, changes []*entry) error {
	if !slices.ContainsFunc(changes, func(e *entry) bool { return e.after == nil && strings.HasPrefix(e.path, name+"/") }) {
		return &moveError{name, errors.New("is a directory")}
	}
	for _, dir := range append(emptied(changes, name), name) {
		if err := t.removeDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &moveError{name, errors.New("is a directory that is not empty")}
		}
	}
	return nil
}

// prune removes the directories that the patch has emptied. One that is not empty stays.
func (t *transaction) prune(changes []*entry) {
	for _, dir := range emptied(changes, "") {
		// There may be a file of its name now.
		if info, err := t.dir.Lstat(dir); err == nil && info.IsDir() {
			_ = t.dir.Remove(dir)
		}
	}
}

// emptied returns the directories below above that files are removed from, deepest first.
func emptied(changes []*entry, above string) []string {
	found := map[string]bool{}
	for _, each := range changes {
		if each.after != nil {
			continue
		}
		for dir := path.Dir(each.path); dir != "." && dir != above; dir = path.Dir(dir) {
			if above != "" && !strings.HasPrefix(dir, above+"/") {
				break
			}
			found[dir] = true
		}
	}
	dirs := make([]string, 0, len(found))
	for dir := range found {
		dirs = append(dirs, dir)
	}
	slices.SortFunc(dirs, func(a, b string) int { return len(b) - len(a) })
	return dirs
}

// makeDirs makes a directory and those above it, and returns those that were missing, also with an error.
func makeDirs(root *os.Root, dir string) (made []string, err error) {
	var missing []string
	for at := dir; at != "."; at = path.Dir(at) {
		if _, err := root.Stat(at); err == nil {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		missing = append(missing, at)
	}
	for _, at := range slices.Backward(missing) {
		if err := root.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return made, err
		} else if err == nil {
			made = append(made, at)
		}
	}
	return made, nil
}

// removeDirs removes directories that were made, unless something is in them by now.
func removeDirs(root *os.Root, made []string) {
	for _, dir := range slices.Backward(made) {
		_ = root.Remove(dir)
	}
}
