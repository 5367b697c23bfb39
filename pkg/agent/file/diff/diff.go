// Package diff reads unified diffs, as git, diff and language models write them,
// and applies them to the content of files. It touches no file system.
//
// Parse is lenient where a reader cannot misunderstand the diff: line counts in hunk headers may be
// wrong, empty context lines may lack their leading space, the diff may have been sent with CRLF line
// ends, and text around it is ignored. It is strict where a lenient reading would apply half of a
// diff: a line that may belong to a hunk but has no place in it is an error.
//
// Apply places each hunk at the nearest match of its old lines. Its cost is bounded, whatever the
// input: see maxSteps.
//
// The text format is read here, because hunks have to be delimited by their lines rather than by
// their counts, and both names of a file are needed to find out what is a prefix. Binary changes are
// left to gitdiff.
//
// No goroutine, no lock. Read parse.go first, then apply.go.
package diff

import "github.com/bluekeyes/go-gitdiff/gitdiff"

// MaxFiles bounds the files of a diff.
const MaxFiles = 4096

// Change is what a diff does to a file.
type Change int

// The changes of a file.
const (
	Modify Change = iota
	Create
	Delete
	Rename
	Copy
)

// Git's modes of files; the permission bits of a regular file are 0644 or 0755.
const (
	TypeMask    = 0o170000
	TypeRegular = 0o100000
	TypeSymlink = 0o120000
	TypeGitlink = 0o160000
)

// File is what a diff does to one file.
type File struct {
	Change Change
	// Old and New are the names before and after, without prefixes such as a/
	// and b/. They are equal unless the file is renamed or copied, and may be
	// any text: the caller checks that they stay where they should.
	Old, New string
	// OldMode and NewMode are git's modes, 0 if not given. NewMode is given only
	// if the mode changes or the file is created.
	OldMode, NewMode int
	// OldID and NewID are git's object names of the content, perhaps shortened, "" if not given.
	OldID, NewID string
	Hunks        []*Hunk
	// IsBinary: the content is not given by hunks. Binary is nil if it is not given at all.
	IsBinary bool
	Binary   *gitdiff.BinaryFragment

	// sentAsCRLF: the lines of the diff itself end with CRLF, so that those of
	// the content cannot be known from it.
	sentAsCRLF bool
}

// Hunk is a change of consecutive lines.
type Hunk struct {
	// Header is "@@ -1,2 +3,4 @@", as the diff has it.
	Header string
	// OldStart is the number of the first old line, from 1. If there are no old
	// lines, it is that of the line before.
	OldStart int
	Lines    []Line
	// Recounted: the counts of the header are not those of the lines.
	Recounted bool

	// loose are empty context lines at the end that were written without a
	// leading space, and so may not be meant as lines of the hunk.
	loose int
	// old and new are the lines before and after, set by newText.
	old, new []oldLine
}

// Line is a line of a hunk.
type Line struct {
	// Op is ' ' for context, '-' or '+'.
	Op byte
	// Text has the line break that the line has in the file, if any.
	Text string
}

// counts returns how many old and new lines the hunk has.
func (h *Hunk) counts() (before, after int) {
	for _, line := range h.Lines {
		if line.Op != '+' {
			before++
		}
		if line.Op != '-' {
			after++
		}
	}
	return before, after
}

// MayCreate says whether the change makes sense for a file that does not exist:
// plain diffs do not always mark a new file.
func (f *File) MayCreate() bool {
	if f.Change != Modify || len(f.Hunks) != 1 {
		return f.Change == Create
	}
	before, _ := f.Hunks[0].counts()
	return before == 0
}

// IsSymlink says whether the content is the target of a symbolic link.
func (f *File) IsSymlink() bool {
	if f.NewMode != 0 {
		return f.NewMode&TypeMask == TypeSymlink
	}
	return f.OldMode&TypeMask == TypeSymlink
}
