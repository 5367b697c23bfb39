package diff

import (
	"fmt"
	"slices"
	"strings"
)

const (
	// maxQuoted bounds what a message quotes of a line.
	maxQuoted = 120
	// maxVotes bounds the places of a line that are looked at to find where a hunk nearly fits.
	maxVotes = 16
	// maxVoters bounds the lines of a hunk that are looked at.
	maxVoters = 1000
)

// mismatch says why a hunk fits nowhere, at the place where most of its lines are.
func (p *placer) mismatch(hunk *Hunk) error {
	start := p.closest(hunk)
	err := p.firstDifference(hunk, start)
	if at, found := p.already(hunk); found {
		return fmt.Errorf("%w; the lines that it makes are there already, from line %d on: was the patch applied before?", err, at+1)
	}
	return err
}

// firstDifference words what is wrong with a place.
func (p *placer) firstDifference(hunk *Hunk, start int) error {
	count := p.text.count()
	line := 0
	for _, each := range hunk.Lines {
		if each.Op == '+' {
			continue
		}
		index := start + line
		if index >= 0 && index < count {
			same := p.text.numbers[index] == hunk.old[line].number
			if ends := p.text.ends(index); !same || (ends == none) != (hunk.old[line].ends == none) {
				return fmt.Errorf("line %d: expected %s, found %s", index+1, Quote(each.Text), Quote(string(p.text.line(index))))
			}
		}
		line++
	}
	if end := start + len(hunk.old); start < 0 || end > count {
		return fmt.Errorf("it needs lines %d to %d, and the file has %d", start+1, end, count)
	}
	return fmt.Errorf("its lines are at line %d, but another hunk changes them", start+1)
}

// closest returns the place at which most lines of a hunk are, or the one that its header says.
func (p *placer) closest(hunk *Hunk) int {
	stated := max(hunk.OldStart-1, 0)
	votes := map[int]int{}
	for i, line := range hunk.old[:min(len(hunk.old), maxVoters)] {
		if places := p.text.where[line.number]; len(places) <= maxVotes {
			for _, index := range places {
				votes[int(index)-i]++
			}
		}
	}
	best := stated
	for start, count := range votes {
		switch {
		case count > votes[best], count == votes[best] && nearer(start, best, stated):
			best = start
		}
	}
	return best
}

// nearer says whether a is nearer to want than b, or as near and later.
func nearer(a, b, want int) bool {
	first, second := a-want, b-want
	if first < 0 {
		first = -first
	}
	if second < 0 {
		second = -second
	}
	return first < second || first == second && a > b
}

// already returns where the file has the lines that a hunk makes.
func (p *placer) already(hunk *Hunk) (start int, found bool) {
	adds := func(line Line) bool { return line.Op == '+' && strings.TrimSpace(line.Text) != "" }
	if !slices.ContainsFunc(hunk.Lines, adds) {
		return 0, false
	}
	made := &Hunk{OldStart: hunk.OldStart, Lines: hunk.Lines, old: hunk.new}
	rarest := p.rarest(made)
	p.text.nearest(made.old[rarest].number, max(made.OldStart-1, 0)+rarest, func(index int) bool {
		found, _ = p.compare(made, index-rarest)
		start = index - rarest
		return !found && p.steps < maxSteps
	})
	return start, found
}

// Quote shows a line, shortened; a missing line break at its end is part of it.
func Quote(line string) string {
	text, whole := strings.CutSuffix(line, "\n")
	if len(text) > maxQuoted {
		text = strings.ToValidUTF8(text[:maxQuoted], "") + "..."
	}
	if whole {
		return fmt.Sprintf("%q", text)
	}
	return fmt.Sprintf("%q without a line break", text)
}
