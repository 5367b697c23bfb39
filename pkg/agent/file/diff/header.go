package diff

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	gitPrefix = "diff --git "
	// devNull stands for the file that does not exist.
	devNull = "/dev/null"
)

// gitFile reads a file whose header begins with "diff --git".
func (p *parser) gitFile() error {
	begin := p.at
	first := p.lines[begin]
	h := &gitHeader{file: &File{sentAsCRLF: strings.HasSuffix(first, "\r\n")}}
	var err error
	if h.oldName, h.newName, err = gitNames(strings.TrimRight(first[len(gitPrefix):], "\r\n")); err != nil {
		return p.errorf(begin, "%w", err)
	}
	p.at++
	for p.at < len(p.lines) {
		known, err := h.line(strings.TrimRight(p.lines[p.at], "\r\n"))
		if err != nil {
			return p.errorf(p.at, "%w", err)
		}
		if !known {
			break
		}
		p.at++
	}
	if err := h.complete(); err != nil {
		return p.errorf(begin, "%w", err)
	}
	f := h.file
	p.files = append(p.files, f)
	switch {
	case h.newPath != "" || p.at < len(p.lines) && isHunkHeader(p.lines[p.at]):
		return p.hunks(f)
	case p.at < len(p.lines) && isBinaryMarker(p.lines[p.at]):
		return p.binary(f)
	case f.Change == Modify && f.NewMode == 0:
		return p.errorf(begin, "%s has no hunks", f.New)
	}
	return nil
}

// gitHeader collects the lines of a header.
type gitHeader struct {
	file *File
	// oldName and newName are those of the first line, "" if they cannot be told apart.
	oldName, newName string
	// oldPath and newPath are those of the "---" and "+++" lines.
	oldPath, newPath string
	// from and to are the names of a rename or copy, which have no prefix.
	from, to string
}

// line takes a line. It is not known if it does not belong to the header.
func (h *gitHeader) line(line string) (known bool, err error) {
	f := h.file
	for _, field := range []struct {
		prefix string
		take   func(value string) error
	}{
		{"--- ", name(&h.oldPath)},
		{"+++ ", name(&h.newPath)},
		{"old mode ", mode(&f.OldMode)},
		{"new mode ", mode(&f.NewMode)},
		{"deleted file mode ", func(v string) error { f.Change = Delete; return mode(&f.OldMode)(v) }},
		{"new file mode ", func(v string) error { f.Change = Create; return mode(&f.NewMode)(v) }},
		{"copy from ", func(v string) error { f.Change = Copy; return name(&h.from)(v) }},
		{"copy to ", name(&h.to)},
		{"rename from ", func(v string) error { f.Change = Rename; return name(&h.from)(v) }},
		{"rename to ", name(&h.to)},
		{"rename old ", func(v string) error { f.Change = Rename; return name(&h.from)(v) }},
		{"rename new ", name(&h.to)},
		{"similarity index ", func(string) error { return nil }},
		{"dissimilarity index ", func(string) error { return nil }},
		{"index ", h.index},
	} {
		if value, found := strings.CutPrefix(line, field.prefix); found {
			return true, field.take(value)
		}
	}
	return false, nil
}

func name(to *string) func(string) error {
	return func(value string) (err error) {
		*to, err = nameOf(value)
		return err
	}
}

func mode(to *int) func(string) error {
	return func(value string) error {
		bits, err := strconv.ParseUint(strings.TrimSpace(value), 8, 18)
		if err != nil {
			return fmt.Errorf("%q is not a file mode, such as 100644", value)
		}
		*to = int(bits)
		return nil
	}
}

// index takes "OLD..NEW MODE", whose mode is left out if it changes.
func (h *gitHeader) index(value string) error {
	ids, bits, hasMode := strings.Cut(value, " ")
	if hasMode && h.file.OldMode == 0 {
		if err := mode(&h.file.OldMode)(bits); err != nil {
			return err
		}
	}
	h.file.OldID, h.file.NewID, _ = strings.Cut(ids, "..")
	return nil
}

// complete finds out the names.
func (h *gitHeader) complete() error {
	f := h.file
	if f.Change == Rename || f.Change == Copy {
		if h.from == "" || h.to == "" {
			return errors.New("one of the names of a rename or copy is missing")
		}
		f.Old, f.New = h.from, h.to
		return nil
	}
	strip, known := 0, h.oldName != ""
	if known {
		strip = prefixed(h.oldName, h.newName)
	}
	switch {
	case h.oldPath != "" && h.newPath != "" && (h.oldPath != devNull || h.newPath != devNull):
		if !known {
			strip = prefixed(h.oldPath, h.newPath)
		}
		given := f.Change
		f.setNames(h.oldPath, h.newPath, strip)
		if f.Change == Modify {
			f.Change = given
		}
	case known:
		f.Old, f.New = stripped(h.oldName, strip), stripped(h.newName, strip)
	default:
		return errors.New("the names of the file cannot be made out")
	}
	if f.Old != f.New {
		return fmt.Errorf("the names %s and %s differ, but it is not a rename or copy", f.Old, f.New)
	}
	return nil
}

// gitNames returns the two names of a "diff --git" line, or "" if there is no saying
// where the first ends: names with spaces are quoted only if they hold other special characters.
func gitNames(text string) (before, after string, err error) {
	if strings.HasPrefix(text, `"`) {
		before, rest, err := unquote(text)
		if err != nil {
			return "", "", err
		}
		after, err = nameOf(strings.TrimLeft(rest, " "))
		return before, after, err
	}
	if first, _, found := strings.Cut(text, ` "`); found {
		after, _, err = unquote(text[len(first)+1:])
		return first, after, err
	}
	if first, second, found := strings.Cut(text, " "); found && !strings.Contains(second, " ") {
		return first, second, nil
	}
	// The names are equal but for a prefix, so that the space between them is the middle one, or nearly so.
	for i := range len(text) {
		if text[i] != ' ' || i == 0 || i == len(text)-1 {
			continue
		}
		first, second := text[:i], text[i+1:]
		if first == second || len(first) == len(second) && stripped(first, 1) == stripped(second, 1) {
			return first, second, nil
		}
	}
	return "", "", nil
}

// nameOf returns the name at the beginning of the rest of a header line. Quotes are resolved; a
// tab ends a name without quotes.
func nameOf(text string) (string, error) {
	if strings.HasPrefix(text, `"`) {
		name, _, err := unquote(text)
		return name, err
	}
	text = strings.TrimRight(text, "\r\n")
	name, _, tab := strings.Cut(text, "\t")
	if !tab {
		name = strings.TrimRight(name, " ")
	}
	if name == "" {
		return "", errors.New("a file name is missing")
	}
	return name, nil
}

// unquote returns the name in quotes at the beginning of a text, and what follows it.
func unquote(text string) (name, rest string, err error) {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			name, err := strconv.Unquote(text[:i+1])
			if err != nil || name == "" {
				return "", "", fmt.Errorf("%s is not a quoted file name", text[:i+1])
			}
			return name, text[i+1:], nil
		}
	}
	return "", "", errors.New("the quote of a file name is not closed")
}

// prefixed returns how many leading components of a pair of names are a prefix: 1 for a/ and b/, and
// for others if the names differ in nothing else.
func prefixed(before, after string) int {
	first, restOfFirst, slashed := strings.Cut(before, "/")
	second, restOfSecond, both := strings.Cut(after, "/")
	usual := func(component string) bool { return component == "a" || component == "b" }
	switch {
	case before == devNull:
		return one(both && usual(second))
	case after == devNull:
		return one(slashed && usual(first))
	case !slashed || !both:
		return 0
	case usual(first) && usual(second):
		return 1
	}
	return one(first != second && restOfFirst == restOfSecond)
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// stripped returns a name without so many leading components.
func stripped(name string, components int) string {
	for range components {
		if _, rest, found := strings.Cut(name, "/"); found {
			name = strings.TrimLeft(rest, "/")
		}
	}
	return name
}
