package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"arl.io/arl/pkg/agent/file/diff"
)

// maxNotes bounds the notes of a message.
const maxNotes = 10

// Patch applies a unified diff, as a whole or not at all: if it fails, nothing is changed.
//
// If name is a directory, the diff may change any number of files, whose names in the diff are
// relative to it, with or without the prefixes a/ and b/. Files that the diff makes get the
// directories that they need; directories that it leaves empty are removed. If name is missing and
// ends with a slash, the directory is made.
//
// If name is a file, or missing, the diff changes one file, and it is name that says which: the names
// in the diff are not looked at.
//
// The mode is for a single file; nil means that of the diff, if it has one, else as in Write. Returns
// a message that says which hunks were not applied as they stand. If a hunk does not fit, returns an
// error that names it, its line and what was expected there.
func (r *Root) Patch(name, text string, mode *fs.FileMode) (message string, err error) {
	files, err := diff.Parse(text)
	if err != nil {
		return "", fmt.Errorf("%s: the patch %w", name, err)
	}
	isDir, err := r.isDir(name)
	if err != nil {
		return "", err
	}
	if !isDir {
		return r.patchFile(name, files, mode)
	}
	if mode != nil {
		return "", fmt.Errorf("%s: is a directory; a mode can be set only for a single file", name)
	}
	return r.patchDir(name, files)
}

// isDir says whether a name means a directory.
func (r *Root) isDir(name string) (bool, error) {
	resolved, err := r.resolve(name)
	if err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	switch _, last := path.Split(name); last {
	case "", ".", "..":
		return true, nil
	}
	info, err := r.root.Stat(resolved)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("%s: %w", name, reason(err))
	}
	return err == nil && info.IsDir(), nil
}

// patchFile applies a diff of one file to the file that name says.
func (r *Root) patchFile(name string, files []*diff.File, mode *fs.FileMode) (string, error) {
	f := files[0]
	switch {
	case len(files) > 1:
		return "", fmt.Errorf("%s: the patch changes %d files, and there is no directory of this name; "+
			"the path must be the directory that the names in the patch are relative to", name, len(files))
	case f.Change == diff.Rename || f.Change == diff.Copy:
		return "", fmt.Errorf("%s: the patch renames or copies a file; "+
			"the path must be the directory that the names in the patch are relative to", name)
	}
	resolve := r.resolve
	if f.IsSymlink() {
		resolve = r.resolveParent
	}
	resolved, err := resolve(name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	dirName, base := path.Split(resolved)
	p := &patcher{root: r, dirName: path.Clean("./" + dirName), shown: func(string) string { return name }}
	f.Old, f.New = base, base
	if mode != nil {
		// Over that of the diff, unless it makes a link, whose mode means nothing.
		p.mode = mode
	}
	return p.patch(files, f.MayCreate())
}

// patchDir applies a diff to the files below a directory.
func (r *Root) patchDir(name string, files []*diff.File) (string, error) {
	resolved, err := r.resolve(name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	p := &patcher{root: r, dirName: resolved, many: true}
	p.shown = func(below string) string { return path.Join(name, below) }
	return p.patch(files, strings.HasSuffix(name, "/"))
}

// patcher applies a diff below a directory.
type patcher struct {
	root *Root
	// dirName is free of links and relative to the root.
	dirName string
	dir     *os.Root
	// many: the diff names the files.
	many bool
	mode *fs.FileMode
	// shown returns the name of a file for messages.
	shown func(string) string

	plan  plan
	notes []string
}

// patch plans all changes and then makes them. It makes the directory if asked to.
func (p *patcher) patch(files []*diff.File, makeDir bool) (message string, err error) {
	var made []string
	if makeDir {
		if made, err = makeDirs(p.root.root, p.dirName); err != nil {
			return "", fmt.Errorf("%s: making its directory: %w", p.shown(files[0].New), reason(err))
		}
	}
	defer func() {
		if err != nil {
			removeDirs(p.root.root, made)
		}
	}()
	if p.dir, err = p.root.root.OpenRoot(p.dirName); err != nil {
		if errors.Is(err, fs.ErrNotExist) && !p.many {
			return "", fmt.Errorf("%s: the file to patch does not exist", p.shown(""))
		}
		return "", fmt.Errorf("%s: opening the directory: %w", p.shown(""), reason(err))
	}
	defer p.dir.Close()
	p.plan = plan{entries: map[string]*entry{}, vacated: map[string]bool{}}
	if err := p.planAll(files); err != nil {
		return "", err
	}
	changes := p.plan.changes()
	if err := p.commit(changes); err != nil {
		return "", err
	}
	return p.message(changes), nil
}

// message says what was done that the diff does not say.
func (p *patcher) message(changes []*entry) string {
	var parts []string
	if p.many {
		parts = append(parts, count(changes))
	}
	notes := p.notes
	if more := len(notes) - maxNotes; more > 0 {
		notes = append(notes[:maxNotes:maxNotes], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(append(parts, notes...), "; ")
}

// count says how many files were created, changed and deleted.
func count(changes []*entry) string {
	var created, changed, deleted int
	for _, each := range changes {
		switch {
		case each.before == nil:
			created++
		case each.after == nil:
			deleted++
		default:
			changed++
		}
	}
	return fmt.Sprintf("files changed: %d, created: %d, deleted: %d", changed, created, deleted)
}
