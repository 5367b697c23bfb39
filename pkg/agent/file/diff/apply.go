package diff

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Result is the content after a diff, and what was done to make it fit.
type Result struct {
	Content []byte
	// Notes say how each hunk that was not applied as it stands was: moved, recounted, or with the
	// line ends of the file.
	Notes []string
}

// Apply returns the content of a file after a change of at most limit bytes. If it does not apply,
// returns an error that names the hunk, the line, and what was expected there.
func (f *File) Apply(before []byte, limit int) (Result, error) {
	if f.IsBinary {
		after, err := applyBinary(before, f, limit)
		return Result{Content: after}, err
	}
	if f.Change == Delete && len(f.Hunks) == 0 && len(before) > 0 {
		return Result{}, errors.New("the patch deletes the file, but does not contain its lines")
	}
	if len(f.Hunks) == 0 {
		return Result{Content: before}, nil
	}
	placed, err := place(newText(before, f.Hunks), f.Hunks)
	if err != nil {
		return Result{}, err
	}
	result := f.assemble(before, placed)
	if len(result.Content) > limit {
		return Result{}, fmt.Errorf("it would have %d bytes after the patch; at most %d", len(result.Content), limit)
	}
	if f.Change == Delete && len(result.Content) > 0 {
		return Result{}, fmt.Errorf("the patch does not apply: it deletes the file, but %d of its lines are not in the patch",
			newText(result.Content, nil).count())
	}
	return result, nil
}

// edit replaces lines of a file.
type edit struct {
	// at and end are indexes of lines of the old file.
	at, end int
	added   []string
}

// assemble builds the new content.
func (f *File) assemble(before []byte, placed []*placement) Result {
	var edits []edit
	var notes []string
	// One placement is enough to need the text, and place returns one for each hunk.
	text := placed[0].text
	for i, each := range placed {
		edits = append(edits, each.edits(f)...)
		if note := each.note(); note != "" {
			notes = append(notes, fmt.Sprintf("hunk %d of %d (%s) %s", i+1, len(placed), each.hunk.Header, note))
		}
	}
	// Stable, so that insertions at the same place keep the order of their hunks.
	slices.SortStableFunc(edits, func(a, b edit) int { return a.at - b.at })
	after := bytes.NewBuffer(make([]byte, 0, len(before)+1024))
	from := 0
	for _, each := range edits {
		after.Write(text.between(from, each.at))
		for _, line := range each.added {
			endLine(after)
			after.WriteString(line)
		}
		from = each.end
	}
	if rest := text.between(from, text.count()); len(rest) > 0 {
		endLine(after)
		after.Write(rest)
	}
	return Result{Content: after.Bytes(), Notes: notes}
}

// endLine adds the line break that the last line of a file may lack, before another line follows.
func endLine(content *bytes.Buffer) {
	if soFar := content.Bytes(); len(soFar) > 0 && soFar[len(soFar)-1] != '\n' {
		content.WriteByte('\n')
	}
}

// edits returns the changes of a hunk, with the line ends that they get.
func (p *placement) edits(f *File) []edit {
	var edits []edit
	at, open := p.start, false
	for i, line := range p.hunk.Lines {
		if line.Op == ' ' {
			at++
			open = false
			continue
		}
		if !open {
			edits = append(edits, edit{at: at, end: at})
			open = true
		}
		last := &edits[len(edits)-1]
		if line.Op == '-' {
			at++
			last.end = at
			continue
		}
		last.added = append(last.added, p.withLineEnd(f, i, at))
	}
	return edits
}

// withLineEnd returns an added line. If the hunk fits but for line ends, it gets that of the old line
// before it in the hunk, else of the one after it.
func (p *placement) withLineEnd(f *File, index, at int) string {
	added := p.hunk.Lines[index].Text
	body, ended := strings.CutSuffix(added, "\n")
	if !ended {
		return added
	}
	body = strings.TrimSuffix(body, "\r")
	switch {
	case len(p.hunk.old) == 0:
		// There is no old line to compare. What the file is not mixed with tells.
		crlf, uniform := p.text.uniform()
		if uniform && (crlf || f.sentAsCRLF) {
			return body + lineEnd(crlf)
		}
		return added
	case p.exact:
		return added
	}
	like := max(at-1, p.start)
	if p.text.ends(like) == none && like > p.start {
		like--
	}
	if p.text.ends(like) == none {
		return added
	}
	return body + lineEnd(p.text.ends(like) == crlf)
}

func lineEnd(crlf bool) string {
	if crlf {
		return "\r\n"
	}
	return "\n"
}

// note says how a hunk was made to fit, or "".
func (p *placement) note() string {
	var notes []string
	if moved := p.start - p.stated; moved != 0 {
		notes = append(notes, fmt.Sprintf("moved %+d lines to line %d", moved, p.start+1))
	}
	if p.hunk.Recounted {
		before, after := p.hunk.counts()
		notes = append(notes, fmt.Sprintf("has %d old and %d new lines", before, after))
	}
	if !p.exact && len(p.hunk.old) > 0 {
		notes = append(notes, fmt.Sprintf("keeps the %s line ends of the file", endNames[p.text.ends(p.start)]))
	}
	return strings.Join(notes, ", ")
}
