package diff

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// ErrNoDiff is returned for a text without any file header.
var ErrNoDiff = errors.New("is not a unified diff: it has no file header (--- a/FILE, +++ b/FILE)")

// parser goes through the lines of a diff once.
type parser struct {
	lines []string
	at    int
	files []*File
}

// Parse reads a diff of any number of files. Returns ErrNoDiff, or an error that names the line.
func Parse(text string) ([]*File, error) {
	if text != "" && !strings.HasSuffix(text, "\n") {
		// The last line break is easily lost on the way here, and never means anything.
		text += "\n"
	}
	p := &parser{lines: strings.SplitAfter(text, "\n")}
	p.lines = p.lines[:len(p.lines)-1]
	for p.at < len(p.lines) {
		if err := p.next(); err != nil {
			return nil, err
		}
		if len(p.files) > MaxFiles {
			return nil, fmt.Errorf("changes more than %d files", MaxFiles)
		}
	}
	if len(p.files) == 0 {
		return nil, ErrNoDiff
	}
	return p.files, nil
}

// next reads a file, or skips a line that belongs to none.
func (p *parser) next() error {
	line := p.lines[p.at]
	switch {
	case strings.HasPrefix(line, gitPrefix):
		return p.gitFile()
	case p.plainHeaderAt(p.at):
		return p.plainFile()
	case strings.HasPrefix(line, "diff --cc "), strings.HasPrefix(line, "diff --combined "), strings.HasPrefix(line, "@@@ -"):
		return p.errorf(p.at, "is a combined diff, of a merge; make one against a single parent")
	case isHunkHeader(line) && len(p.files) > 0, strings.HasPrefix(line, "@@ -"):
		if len(p.files) == 0 {
			return ErrNoDiff
		}
		return p.errorf(p.at, "a hunk without a file header: %s", shorten(line))
	}
	p.at++
	return nil
}

// errorf returns an error that names a line of the diff.
func (p *parser) errorf(at int, format string, arguments ...any) error {
	return fmt.Errorf("line %d of the patch: %w", at+1, fmt.Errorf(format, arguments...))
}

// plainHeaderAt says whether a file header without a "diff --git" line is at a line.
func (p *parser) plainHeaderAt(at int) bool {
	return at+2 < len(p.lines) && strings.HasPrefix(p.lines[at], "--- ") &&
		strings.HasPrefix(p.lines[at+1], "+++ ") && isHunkHeader(p.lines[at+2])
}

// isHunkHeader says whether a line is meant as the header of a hunk, also if its numbers are missing.
func isHunkHeader(line string) bool { return strings.HasPrefix(line, "@@") }

// plainFile reads a file whose header is "---" and "+++" only.
func (p *parser) plainFile() error {
	begin := p.at
	oldLine, newLine := p.lines[begin], p.lines[begin+1]
	before, err := nameOf(oldLine[len("--- "):])
	if err != nil {
		return p.errorf(begin, "%w", err)
	}
	after, err := nameOf(newLine[len("+++ "):])
	if err != nil {
		return p.errorf(begin+1, "%w", err)
	}
	f := &File{sentAsCRLF: strings.HasSuffix(oldLine, "\r\n")}
	if isEpoch(oldLine) {
		before = devNull
	} else if isEpoch(newLine) {
		after = devNull
	}
	if before == devNull && after == devNull {
		return p.errorf(begin, "both names are %s", devNull)
	}
	f.setNames(before, after, prefixed(before, after))
	if f.Old != f.New {
		// Such as file.orig and file: it is one file, and the shorter name is its own.
		name := f.New
		if strings.HasPrefix(f.New, f.Old) {
			name = f.Old
		}
		f.Old, f.New = name, name
	}
	p.at += 2
	p.files = append(p.files, f)
	return p.hunks(f)
}

// setNames takes the names of the "---" and "+++" lines without a prefix of so many components.
func (f *File) setNames(before, after string, strip int) {
	switch {
	case before == devNull:
		f.Change = Create
		f.New = stripped(after, strip)
		f.Old = f.New
	case after == devNull:
		f.Change = Delete
		f.Old = stripped(before, strip)
		f.New = f.Old
	default:
		f.Old, f.New = stripped(before, strip), stripped(after, strip)
	}
}

// isEpoch says whether a "---" or "+++" line has the time 0, by which diff -N marks a file
// that does not exist.
func isEpoch(line string) bool {
	_, stamp, found := strings.Cut(line, "\t")
	if !found {
		return false
	}
	at, err := time.Parse("2006-01-02 15:04:05.999999999 -0700", strings.TrimSpace(stamp))
	return err == nil && at.Unix() == 0
}

// hunkHeader is lenient in what follows the numbers.
var hunkHeader = regexp.MustCompile(`^@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))?(?: @@|\s*$)`)

// hunks reads the hunks of a file.
func (p *parser) hunks(f *File) error {
	for {
		at := p.skipBlank(p.at)
		if at == len(p.lines) || !isHunkHeader(p.lines[at]) {
			break
		}
		p.at = at
		hunk, before, after, err := p.hunkHeader()
		if err != nil {
			return err
		}
		if err := p.hunkLines(f, hunk, before, after); err != nil {
			return err
		}
		f.Hunks = append(f.Hunks, hunk)
	}
	if len(f.Hunks) == 0 {
		return p.errorf(p.at-1, "the file header is not followed by a hunk (@@ -1,2 +1,2 @@)")
	}
	return p.checkHunks(f)
}

// checkHunks refuses hunks that contradict the header of the file.
func (p *parser) checkHunks(f *File) error {
	for _, hunk := range f.Hunks {
		before, after := hunk.counts()
		switch {
		case f.Change == Create && before > 0:
			return fmt.Errorf("creates %s, but hunk %s has old lines", f.New, hunk.Header)
		case f.Change == Delete && after > 0:
			return fmt.Errorf("deletes %s, but hunk %s has lines that stay", f.Old, hunk.Header)
		}
	}
	return nil
}

// hunkHeader reads "@@ -1,2 +1,3 @@" and returns its counts.
func (p *parser) hunkHeader() (hunk *Hunk, before, after int, err error) {
	line := p.lines[p.at]
	match := hunkHeader.FindStringSubmatch(line)
	if match == nil {
		return nil, 0, 0, p.errorf(p.at, "%s is no hunk header; it must have line numbers, as in @@ -1,2 +1,3 @@", shorten(line))
	}
	numbers := [4]int{1, 1, 1, 1}
	for i, text := range match[1:] {
		if text != "" {
			// At most nine digits.
			numbers[i], _ = strconv.Atoi(text)
		}
	}
	p.at++
	return &Hunk{Header: strings.TrimSpace(match[0]), OldStart: numbers[0]}, numbers[1], numbers[3], nil
}

// shorten quotes a line for a message.
func shorten(line string) string {
	return Quote(strings.TrimSuffix(line, "\n") + "\n")
}
