package diff

import "strings"

// hunkLines reads the lines of a hunk whose header has these counts. The hunk ends where the counts
// say, unless that would leave lines out or take too many: then it ends where its lines do.
func (p *parser) hunkLines(f *File, hunk *Hunk, before, after int) error {
	end, fits := p.byCounts(before, after)
	if !fits {
		hunk.Recounted = true
		var err error
		if end, err = p.byLines(); err != nil {
			return err
		}
	}
	for ; p.at < end; p.at++ {
		p.hunkLine(f, hunk, p.lines[p.at])
	}
	if hunk.Recounted {
		// Empty lines after the last are not counted by anything.
		hunk.Lines = hunk.Lines[:len(hunk.Lines)-hunk.loose]
		hunk.loose = 0
	}
	for _, line := range hunk.Lines {
		if line.Op != ' ' {
			return nil
		}
	}
	return p.errorf(end-1, "hunk %s changes nothing", hunk.Header)
}

// hunkLine adds a line to a hunk.
func (p *parser) hunkLine(f *File, hunk *Hunk, line string) {
	if f.sentAsCRLF {
		if text, found := strings.CutSuffix(line, "\r\n"); found {
			line = text + "\n"
		}
	}
	if isBlank(line) {
		hunk.Lines = append(hunk.Lines, Line{Op: ' ', Text: line})
		hunk.loose++
		return
	}
	hunk.loose = 0
	switch line[0] {
	case '\\':
		if last := len(hunk.Lines) - 1; last >= 0 {
			text := strings.TrimSuffix(hunk.Lines[last].Text, "\n")
			hunk.Lines[last].Text = strings.TrimSuffix(text, "\r")
		}
	case '\t':
		// The leading space was lost.
		hunk.Lines = append(hunk.Lines, Line{Op: ' ', Text: line})
	default:
		hunk.Lines = append(hunk.Lines, Line{Op: line[0], Text: line[1:]})
	}
}

// byCounts returns where the hunk at the current line ends by its counts. They do not fit if
// a line cannot be one of the hunk, or if lines that can be follow.
func (p *parser) byCounts(before, after int) (end int, fits bool) {
	at := p.at
	for ; before > 0 || after > 0; at++ {
		if at == len(p.lines) {
			return 0, false
		}
		switch line := p.lines[at]; {
		case isBlank(line) || line[0] == ' ' || line[0] == '\t':
			before--
			after--
		case line[0] == '-':
			before--
		case line[0] == '+':
			after--
		case line[0] != '\\':
			return 0, false
		}
		if before < 0 || after < 0 {
			return 0, false
		}
	}
	for at < len(p.lines) && p.lines[at][0] == '\\' {
		at++
	}
	return at, !p.goesOn(at)
}

// goesOn says whether lines of a hunk seem to follow the end of it. Text may follow a diff, but if
// lines of a hunk are in the same paragraph, the text is a damaged line of the hunk.
func (p *parser) goesOn(at int) bool {
	for at = p.skipBlank(at); at < len(p.lines) && !p.endsHunk(at) && !isBlank(p.lines[at]); at++ {
		if isHunkLine(p.lines[at]) {
			return true
		}
	}
	return false
}

// byLines returns where the lines end that can be those of the hunk at the current line. What
// follows must be the beginning of something else: a hunk is not cut at a line that is damaged.
func (p *parser) byLines() (int, error) {
	at := p.at
	for at < len(p.lines) && !p.endsHunk(at) {
		if line := p.lines[at]; !isBlank(line) && !isHunkLine(line) && line[0] != '\\' {
			return 0, p.errorf(at, "%s is no line of a hunk, which begin with ' ', '+' or '-'", shorten(line))
		}
		at++
	}
	return at, nil
}

// endsHunk says whether a line begins something after a hunk.
func (p *parser) endsHunk(at int) bool {
	line := p.lines[at]
	switch line[0] {
	case '@':
		return isHunkHeader(line)
	case 'B':
		return strings.HasPrefix(line, "Binary files ")
	case 'd':
		return strings.HasPrefix(line, "diff ")
	case 'I':
		return strings.HasPrefix(line, "Index: ")
	case 'O':
		return strings.HasPrefix(line, "Only in ")
	case 'F':
		return strings.HasPrefix(line, "From ")
	case '`', '~':
		// The end of a block in Markdown.
		return strings.HasPrefix(line, "```") || strings.HasPrefix(line, "~~~")
	case '-':
		return p.plainHeaderAt(at) || p.signatureAt(at)
	}
	return false
}

// signatureAt says whether a line is "-- ", which git puts between a patch in a mail and its own version.
func (p *parser) signatureAt(at int) bool {
	if strings.TrimRight(p.lines[at], "\r\n") != "-- " {
		return false
	}
	return at+1 == len(p.lines) || '0' <= p.lines[at+1][0] && p.lines[at+1][0] <= '9'
}

// skipBlank returns the first line that is not empty, from at on.
func (p *parser) skipBlank(at int) int {
	for at < len(p.lines) && isBlank(p.lines[at]) {
		at++
	}
	return at
}

// isBlank says whether a line is an empty line of context that lost its leading space.
func isBlank(line string) bool { return line == "\n" || line == "\r\n" }

// isHunkLine says whether a line that is not blank can be one of a hunk.
func isHunkLine(line string) bool { return strings.IndexByte(" +-\t", line[0]) >= 0 }
