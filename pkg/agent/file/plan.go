package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"arl.io/arl/pkg/agent/file/diff"
)

// MaxPatchTotal bounds the content of all files that one patch changes, before and after, as it is
// held in memory.
const MaxPatchTotal = 2 * MaxPatchedBytes

// node is a regular file or a symbolic link.
type node struct {
	// content is the target of a link.
	content []byte
	link    bool
	mode    fs.FileMode
	// owner is nil for a new file, which is the agent's.
	owner *syscall.Stat_t
}

// entry is a path that a patch changes.
type entry struct {
	// path is relative to the directory of the patch.
	path string
	// before and after are nil if there is no file.
	before, after *node
	// onDir: there is a directory, which the patch may empty.
	onDir bool
	// replaced: after is a new file, and it does not matter that before goes.
	replaced bool
}

// plan is what a patch does. Nothing is changed while it is made.
type plan struct {
	entries map[string]*entry
	// vacated are the paths whose files are renamed or deleted.
	vacated map[string]bool
	total   int
}

// changes returns what has to be done, in the order of paths.
func (p *plan) changes() []*entry {
	var changes []*entry
	for _, each := range p.entries {
		if !each.before.equal(each.after) {
			changes = append(changes, each)
		}
	}
	slices.SortFunc(changes, func(a, b *entry) int { return strings.Compare(a.path, b.path) })
	return changes
}

func (n *node) equal(other *node) bool {
	if n == nil || other == nil {
		return n == other
	}
	return n.link == other.link && n.mode == other.mode && bytes.Equal(n.content, other.content)
}

// planAll plans the changes of all files, in the order of the diff. As git does, renames and copies
// take the file as it was before the patch, and others as the diff has made it so far.
func (p *patcher) planAll(files []*diff.File) error {
	for _, f := range files {
		if f.Change == diff.Delete || f.Change == diff.Rename {
			if at, err := p.locate(f.Old, false); err == nil {
				p.plan.vacated[at] = true
			}
		}
	}
	for _, f := range files {
		name := f.New
		if f.Change == diff.Delete {
			name = f.Old
		}
		if err := p.planFile(f); err != nil {
			return fmt.Errorf("%s: %w", p.shown(name), err)
		}
		if p.plan.total > MaxPatchTotal {
			return fmt.Errorf("%s: the files of the patch have more than %d bytes", p.shown(name), MaxPatchTotal)
		}
	}
	return nil
}

// planFile plans the changes of one file.
func (p *patcher) planFile(f *diff.File) error {
	if err := checkModes(f); err != nil {
		return err
	}
	from, source, err := p.source(f)
	if err != nil {
		return err
	}
	if source != nil && source.link != f.IsSymlink() && f.OldMode != 0 && f.Change != diff.Create {
		if source.link {
			return errors.New("is a symbolic link, and the patch is for a file")
		}
		return errors.New("is a file, and the patch is for a symbolic link")
	}
	to := from
	if f.Change == diff.Rename || f.Change == diff.Copy {
		if to, err = p.entry(f.New, false); err != nil {
			return err
		}
	}
	if f.Change != diff.Modify && f.Change != diff.Delete && (to.onDir || to.after != nil) {
		if !to.onDir && !p.plan.vacated[to.path] {
			return errors.New("the patch creates the file, but it is there already")
		}
		to.replaced = true
	}
	made, err := p.apply(f, source)
	if err != nil {
		return err
	}
	if (f.Change == diff.Rename || f.Change == diff.Delete) && !from.replaced {
		from.after = nil
	}
	if f.Change != diff.Delete {
		to.after = made
	}
	return nil
}

// checkModes refuses kinds of files that cannot be made.
func checkModes(f *diff.File) error {
	for _, mode := range []int{f.OldMode, f.NewMode} {
		switch mode & diff.TypeMask {
		case 0, diff.TypeRegular, diff.TypeSymlink:
		case diff.TypeGitlink:
			return fmt.Errorf("is a submodule (mode %o), which a patch cannot change", mode)
		default:
			return fmt.Errorf("mode %o is not that of a file or a symbolic link", mode)
		}
	}
	if f.OldMode != 0 && f.NewMode != 0 && f.OldMode&diff.TypeMask != f.NewMode&diff.TypeMask {
		return fmt.Errorf("the mode changes from %o to %o; the patch must delete the file and create the other", f.OldMode, f.NewMode)
	}
	return nil
}

// source returns the file to change and its content so far, nil if it is to be created.
func (p *patcher) source(f *diff.File) (*entry, *node, error) {
	from, err := p.entry(f.Old, f.Change == diff.Modify && !f.IsSymlink())
	if err != nil {
		return nil, nil, err
	}
	source := from.after
	switch f.Change {
	case diff.Create:
		return from, nil, nil
	case diff.Rename, diff.Copy:
		if from.before != nil {
			source = from.before
		}
	case diff.Delete:
		if from.replaced {
			source = from.before
		}
	}
	switch {
	case from.onDir && source == nil:
		return nil, nil, errors.New("is a directory")
	case source == nil && f.Change == diff.Rename:
		return nil, nil, fmt.Errorf("the file to rename, %s, does not exist", f.Old)
	case source == nil && f.Change == diff.Copy:
		return nil, nil, fmt.Errorf("the file to copy, %s, does not exist", f.Old)
	case source == nil && !f.MayCreate():
		return nil, nil, errors.New("the file to patch does not exist")
	}
	return from, source, nil
}

// apply returns the file after the change.
func (p *patcher) apply(f *diff.File, source *node) (*node, error) {
	made := node{mode: defaultMode}
	if source != nil {
		made = *source
	}
	result, err := f.Apply(made.content, MaxPatchedBytes)
	if err != nil {
		return nil, err
	}
	for _, note := range result.Notes {
		name := f.New
		if !p.many {
			name = p.shown(name)
		}
		p.notes = append(p.notes, name+": "+note)
	}
	made.content = result.Content
	p.plan.total += len(result.Content)
	if f.NewMode != 0 {
		made.mode, made.link = fs.FileMode(f.NewMode).Perm(), f.IsSymlink()
	}
	if f.Change == diff.Delete {
		return &made, nil
	}
	if made.link {
		return &made, p.checkLink(f.New, &made)
	}
	if p.mode != nil {
		made.mode = *p.mode
	}
	return &made, nil
}

// checkLink refuses a link that leads out of the root.
func (p *patcher) checkLink(name string, made *node) error {
	made.mode = 0
	// It has none, but the marker that says so is easily lost.
	made.content = bytes.TrimSuffix(made.content, []byte("\n"))
	target := string(made.content)
	if target == "" || len(target) >= unix.PathMax || strings.ContainsAny(target, "\n\x00") {
		return fmt.Errorf("%s is not the target of a symbolic link", diff.Quote(target+"\n"))
	}
	at := target
	if !path.IsAbs(target) {
		at = path.Join(p.dirName, path.Dir(name)) + "/" + target
	}
	if _, err := p.root.resolve(at); errors.Is(err, ErrEscapes) {
		return fmt.Errorf("the target of the symbolic link, %s: %w", target, err)
	}
	return nil
}

// locate returns the path of a name of the diff, relative to the directory and free of links, save
// that the last component is not followed unless asked for.
func (p *patcher) locate(name string, follow bool) (string, error) {
	for component := range strings.SplitSeq(name, "/") {
		if component == "" || component == "." || component == ".." || strings.ContainsRune(component, 0) {
			return "", fmt.Errorf("the name %q in the patch leads out of the directory or is not clean", name)
		}
	}
	resolve := p.root.resolveParent
	if follow {
		resolve = p.root.resolve
	}
	resolved, err := resolve(p.dirName + "/" + name)
	if err != nil {
		return "", err
	}
	if p.dirName == "." {
		return resolved, nil
	}
	below, found := strings.CutPrefix(resolved, p.dirName+"/")
	if !found {
		return "", errors.New("a symbolic link leads out of the directory that is patched")
	}
	return below, nil
}

// entry returns the entry of a name of the diff.
func (p *patcher) entry(name string, follow bool) (*entry, error) {
	at, err := p.locate(name, follow)
	if err != nil {
		return nil, err
	}
	if known, found := p.plan.entries[at]; found {
		return known, nil
	}
	loaded := &entry{path: at}
	info, err := p.dir.Lstat(at)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
	case err != nil:
		return nil, reason(err)
	case info.IsDir():
		loaded.onDir = true
	default:
		if loaded.before, err = p.load(at, info); err != nil {
			return nil, err
		}
		p.plan.total += len(loaded.before.content)
	}
	loaded.after = loaded.before
	p.plan.entries[at] = loaded
	return loaded, nil
}

// load reads a file or a link.
func (p *patcher) load(at string, info fs.FileInfo) (*node, error) {
	found := &node{}
	found.owner, _ = info.Sys().(*syscall.Stat_t)
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		found.link = true
		target, err := p.dir.Readlink(at)
		if err != nil {
			return nil, reason(err)
		}
		found.content = []byte(target)
	case info.Mode().IsRegular():
		found.mode = info.Mode() & keptBits
		content, err := readBounded(p.dir, at, info)
		if err != nil {
			return nil, err
		}
		found.content = content
	default:
		return nil, errors.New("is not a regular file")
	}
	return found, nil
}

// readBounded returns the content of a file that is small enough to be patched.
func readBounded(dir *os.Root, name string, info fs.FileInfo) ([]byte, error) {
	if info.Size() > MaxPatchedBytes {
		return nil, fmt.Errorf("%d bytes are too many to patch; at most %d", info.Size(), MaxPatchedBytes)
	}
	// Not blocking, should it have become a pipe meanwhile.
	opened, err := dir.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, reason(err)
	}
	defer opened.Close()
	content, err := io.ReadAll(io.LimitReader(opened, MaxPatchedBytes+1))
	if err == nil && len(content) > MaxPatchedBytes {
		err = errors.New("the file grows while it is read")
	}
	return content, reason(err)
}
