package diff

import (
	"errors"
	"fmt"
)

// maxSteps bounds the comparisons of lines that placing the hunks of one file takes. Patches that
// are not made to be slow stay far below: a hunk that fits where it says costs its own length,
// and one that does not costs the occurrences of its rarest line.
const maxSteps = 1 << 25

// errTooManySteps is returned when the bound is reached.
var errTooManySteps = errors.New("finding its place takes too long: its lines occur too often in the file; make the patch against the file as it is")

// oldLine is a line of a hunk, numbered as in a text.
type oldLine struct {
	number int32
	ends   lineEnding
}

// placement is where a hunk goes.
type placement struct {
	text *text
	hunk *Hunk
	// start is the index of the first old line, and stated the one that the header says.
	start, stated int
	// exact: the old lines fit with their line ends.
	exact bool
	// first and last delimit the lines that change, as indexes of lines of the file.
	first, last int
}

// placer places the hunks of a file, one after another.
type placer struct {
	text   *text
	placed []*placement
	// end is where the last line of all that is placed ends.
	end   int
	steps int
}

// place returns a placement for each hunk.
func place(t *text, hunks []*Hunk) ([]*placement, error) {
	p := &placer{text: t}
	for i, hunk := range hunks {
		found, err := p.find(hunk)
		if err != nil {
			return nil, fmt.Errorf("hunk %d of %d (%s) does not apply: %w", i+1, len(hunks), hunk.Header, err)
		}
		p.placed = append(p.placed, found)
		p.end = max(p.end, found.end())
	}
	return p.placed, nil
}

// find returns the best place of a hunk.
func (p *placer) find(hunk *Hunk) (*placement, error) {
	if len(hunk.old) == 0 {
		return p.insert(hunk)
	}
	found, err := p.search(hunk)
	if found == nil && err == nil && hunk.loose > 0 && hunk.loose < len(hunk.old) {
		// Perhaps the empty lines at its end only separate it from what follows.
		shorter := *hunk
		shorter.Lines = hunk.Lines[:len(hunk.Lines)-hunk.loose]
		shorter.old, shorter.new = hunk.old[:len(hunk.old)-hunk.loose], hunk.new[:len(hunk.new)-hunk.loose]
		shorter.loose, shorter.Recounted = 0, true
		found, err = p.search(&shorter)
	}
	if found == nil && err == nil {
		err = p.mismatch(hunk)
	}
	return found, err
}

// insert places a hunk without old lines at the line it names: there is nothing to search for.
func (p *placer) insert(hunk *Hunk) (*placement, error) {
	start := hunk.OldStart
	if p.text.count() == 0 {
		start = 0
	}
	if start > p.text.count() {
		return nil, fmt.Errorf("it adds lines after line %d, and the file has %d lines", start, p.text.count())
	}
	placed := p.at(hunk, start, start, true)
	if _, possible := p.apart(placed); !possible {
		return nil, fmt.Errorf("it adds lines after line %d, which another hunk changes", start)
	}
	return placed, nil
}

// search returns the place that is preferred, or nil if the lines of the hunk are nowhere in the
// file. A hunk from the first line on is preferred at the beginning of the file, and one without
// context at its end at the end of the file; any other, and these if they do not fit there, at the
// nearest place. Exact line ends go before others, and places that share no line with another hunk
// before those that share lines of context.
func (p *placer) search(hunk *Hunk) (*placement, error) {
	stated := max(hunk.OldStart-1, 0)
	// best are the first places found of each kind: exact or not, and apart from other hunks or not.
	var best [4]*placement
	consider := func(start int) {
		fits, exact := p.compare(hunk, start)
		if !fits {
			return
		}
		candidate := p.at(hunk, start, stated, exact)
		apart, possible := p.apart(candidate)
		if !possible {
			return
		}
		kind := 0
		if !exact {
			kind += 2
		}
		if !apart {
			kind++
		}
		if best[kind] == nil {
			best[kind] = candidate
		}
	}
	if start, anchored := p.anchor(hunk); anchored {
		consider(start)
	}
	if best[0] != nil {
		return best[0], nil
	}
	rarest := p.rarest(hunk)
	p.text.nearest(hunk.old[rarest].number, stated+rarest, func(index int) bool {
		consider(index - rarest)
		return best[0] == nil && p.steps < maxSteps
	})
	for _, found := range best {
		if found != nil {
			return found, nil
		}
	}
	if p.steps >= maxSteps {
		return nil, errTooManySteps
	}
	return nil, nil
}

// anchor returns the place of a hunk that should be at the beginning or the end of the file.
func (p *placer) anchor(hunk *Hunk) (start int, anchored bool) {
	first, last := hunk.Lines[0].Op, hunk.Lines[len(hunk.Lines)-1].Op
	switch {
	case first != ' ' && last != ' ' && hunk.OldStart > 1:
		// Without any context, its end says nothing.
		return 0, false
	case hunk.OldStart <= 1:
		return 0, true
	}
	return p.text.count() - len(hunk.old), last != ' '
}

// rarest returns the index of the old line that the file has the least often.
func (p *placer) rarest(hunk *Hunk) int {
	best := 0
	for i, line := range hunk.old {
		if len(p.text.where[line.number]) < len(p.text.where[hunk.old[best].number]) {
			best = i
		}
	}
	return best
}

// compare says whether the old lines of a hunk are in the file from start on, and with the same line
// ends. Without the same ones they fit, too, unless a line break is missing on one side only.
func (p *placer) compare(hunk *Hunk, start int) (fits, exact bool) {
	p.steps++
	if start < 0 || start+len(hunk.old) > p.text.count() {
		return false, false
	}
	exact = true
	for i, line := range hunk.old {
		p.steps++
		if p.text.numbers[start+i] != line.number {
			return false, false
		}
		if ends := p.text.ends(start + i); ends != line.ends {
			if ends == none || line.ends == none {
				return false, false
			}
			exact = false
		}
	}
	return true, exact
}

// at returns the placement of a hunk at a line.
func (p *placer) at(hunk *Hunk, start, stated int, exact bool) *placement {
	placed := &placement{text: p.text, hunk: hunk, start: start, stated: stated, exact: exact, first: -1}
	at := start
	for _, line := range hunk.Lines {
		if line.Op != ' ' && placed.first < 0 {
			placed.first = at
		}
		if line.Op != '+' {
			at++
		}
		if line.Op != ' ' {
			placed.last = at
		}
	}
	return placed
}

// apart says whether a placement shares no line with those before it, and whether it is possible at
// all: a hunk may share lines of context with another, but needs none that the other changes.
func (p *placer) apart(candidate *placement) (apart, possible bool) {
	if candidate.start >= p.end {
		// As in all diffs whose hunks are in order.
		return true, true
	}
	apart = true
	for _, other := range p.placed {
		p.steps++
		if candidate.end() <= other.start || other.end() <= candidate.start {
			continue
		}
		apart = false
		if candidate.end() > other.first && candidate.start < other.last {
			return false, false
		}
	}
	return apart, true
}

func (p *placement) end() int { return p.start + len(p.hunk.old) }
