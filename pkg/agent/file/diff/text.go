package diff

import (
	"bytes"
	"sort"
)

// How a line of a file ends.
type lineEnding int8

const (
	none lineEnding = iota
	lf
	crlf
)

var endNames = map[lineEnding]string{none: "missing", lf: "LF", crlf: "CRLF"}

// unknown is the number of a line that does not occur in the patch.
const unknown = -1

// text is the lines of a file, numbered by content. It takes eight bytes a line, and more only for
// lines that are in the patch.
type text struct {
	content []byte
	// ends are the positions after each line.
	after []int32
	// numbers are equal for lines that are equal but for their line ends.
	numbers []int32
	// where are the indexes of the lines of each number, ascending.
	where [][]int32
}

// newText numbers the lines of a file and those of the hunks.
func newText(content []byte, hunks []*Hunk) *text {
	t := &text{content: content}
	known := map[string]int32{}
	for _, hunk := range hunks {
		hunk.old, hunk.new = nil, nil
		for _, line := range hunk.Lines {
			body, ends := cutLineEnd([]byte(line.Text))
			number, found := known[string(body)]
			if !found {
				number = int32(len(known))
				known[string(body)] = number
			}
			numbered := oldLine{number: number, ends: ends}
			if line.Op != '+' {
				hunk.old = append(hunk.old, numbered)
			}
			if line.Op != '-' {
				hunk.new = append(hunk.new, numbered)
			}
		}
	}
	t.where = make([][]int32, len(known))
	count := bytes.Count(content, []byte("\n")) + 1
	t.after, t.numbers = make([]int32, 0, count), make([]int32, 0, count)
	for at := 0; at < len(content); {
		length := bytes.IndexByte(content[at:], '\n') + 1
		if length == 0 {
			length = len(content) - at
		}
		body, _ := cutLineEnd(content[at : at+length])
		number, found := known[string(body)]
		if found {
			t.where[number] = append(t.where[number], int32(len(t.numbers)))
		} else {
			number = unknown
		}
		at += length
		t.after, t.numbers = append(t.after, int32(at)), append(t.numbers, number)
	}
	return t
}

// cutLineEnd splits a line.
func cutLineEnd(line []byte) (body []byte, ends lineEnding) {
	body, found := bytes.CutSuffix(line, []byte("\n"))
	if !found {
		return line, none
	}
	if body, found := bytes.CutSuffix(body, []byte("\r")); found {
		return body, crlf
	}
	return body, lf
}

func (t *text) count() int { return len(t.numbers) }

// between returns the bytes of lines from the index from to before to.
func (t *text) between(from, to int) []byte {
	start := 0
	if from > 0 {
		start = int(t.after[from-1])
	}
	if to <= from {
		return nil
	}
	return t.content[start:t.after[to-1]]
}

func (t *text) line(index int) []byte { return t.between(index, index+1) }

func (t *text) ends(index int) lineEnding {
	_, ends := cutLineEnd(t.line(index))
	return ends
}

// uniform says whether all lines end the same way, and which.
func (t *text) uniform() (isCRLF, uniform bool) {
	all := bytes.Count(t.content, []byte("\n"))
	with := bytes.Count(t.content, []byte("\r\n"))
	return with > 0, all > 0 && (with == 0 || with == all)
}

// nearest calls visit with the places of a line, those nearest to want first and of two that are
// equally near the later, until it returns false.
func (t *text) nearest(number int32, want int, visit func(index int) bool) {
	places := t.where[number]
	above := sort.Search(len(places), func(i int) bool { return int(places[i]) >= want })
	below := above - 1
	for below >= 0 || above < len(places) {
		var next int32
		if below < 0 || above < len(places) && int(places[above])-want <= want-int(places[below]) {
			next = places[above]
			above++
		} else {
			next = places[below]
			below--
		}
		if !visit(int(next)) {
			return
		}
	}
}
