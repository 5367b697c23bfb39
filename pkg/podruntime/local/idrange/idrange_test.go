package idrange

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		text string
		want Range
		err  string
	}{
		{text: "1879048192-2147483647", want: Default},
		{text: "100000-165535", want: Range{100000, 65536}},
		{text: "100000", err: "FIRST-LAST"},
		{text: "a-b", err: "FIRST-LAST"},
		{text: "0-65535", err: "root"},
		{text: "5-5", err: "too small"},
		{text: "9-5", err: "too small"},
		{text: "1879048192-2147483648", err: "above 2147483647"},
	} {
		got, err := Parse(test.text)
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("Parse(%q): %v, want an error with %q", test.text, err, test.err)
		}
		if got != test.want {
			t.Errorf("Parse(%q) is %v, want %v", test.text, got, test.want)
		}
		if err == nil && got.String() != test.text {
			t.Errorf("%q is printed as %q", test.text, got)
		}
	}
}

func take(t *testing.T, p *Pool) Lease {
	t.Helper()
	l, err := p.Take()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestNoTwoPodsShare takes and gives back in all orders.
func TestNoTwoPodsShare(t *testing.T) {
	all := Range{First: 1000, Size: 3*PerPod + 5}
	p := NewPool(all, 7)
	one, two, three := take(t, p), take(t, p), take(t, p)
	for _, pair := range [][2]Lease{{one, two}, {one, three}, {two, three}} {
		if pair[0].Overlaps(pair[1].Range) || pair[0].Owner == pair[1].Owner {
			t.Errorf("%v and %v overlap", pair[0], pair[1])
		}
	}
	for _, l := range []Lease{one, two, three} {
		if l.Size != PerPod || l.First < all.First || l.Last() > all.Last() || l.Owner != l.First {
			t.Errorf("lease %+v of %v", l, all)
		}
	}
	if l, err := p.Take(); !errors.Is(err, ErrUsedUp) {
		t.Errorf("a fourth of three ranges is %v, %v", l, err)
	}
	p.Release(two)
	if again := take(t, p); again != two {
		t.Errorf("got %v, want %v, the only one that is free", again, two)
	}
}

// TestWhatWasGivenBackIsTakenLast: files that somebody kept of a pod do not soon become another's.
func TestWhatWasGivenBackIsTakenLast(t *testing.T) {
	p := NewPool(Range{First: 1000, Size: 3 * PerPod}, 0)
	one := take(t, p)
	p.Release(one)
	if next := take(t, p); next == one {
		t.Errorf("%v was given back and taken at once", one)
	}
}

func TestHold(t *testing.T) {
	all := Range{First: 1000, Size: 4 * PerPod}
	p := NewPool(all, 0)
	// Parts 0 and 1, by a range that an earlier configuration cut elsewhere; part 2, held twice.
	across := Lease{Range: Range{First: 1000 + PerPod/2, Size: PerPod}}
	third := p.lease(2)
	outside := Lease{Range: Range{First: 100_000_000, Size: PerPod}, Owner: 100_000_000}
	p.Hold(across)
	p.Hold(third)
	p.Hold(third)
	p.Hold(outside)
	if got := take(t, p); got != p.lease(3) {
		t.Errorf("got %v, want the only one that is free", got)
	}
	p.Release(outside)
	p.Release(third)
	if _, err := p.Take(); !errors.Is(err, ErrUsedUp) {
		t.Errorf("got %v, want %v: one of two holders is left", err, ErrUsedUp)
	}
	p.Release(third)
	if got := take(t, p); got != third {
		t.Errorf("got %v, want %v", got, third)
	}
	p.Release(across)
	if diff := cmp.Diff([]Lease{p.lease(0), p.lease(1)}, []Lease{take(t, p), take(t, p)}); diff != "" {
		t.Error(diff)
	}
}

// TestSmallRangeIsShared: with less than two pods' worth all pods have the same users, and still an
// owner each.
func TestSmallRangeIsShared(t *testing.T) {
	for _, test := range []struct {
		all  Range
		want Range
	}{
		{Range{1000, 10}, Range{1000, 10}},
		{Range{1000, 2*PerPod - 1}, Range{1000, PerPod}},
	} {
		p := NewPool(test.all, 3)
		one, two := take(t, p), take(t, p)
		if one.Range != test.want || two.Range != test.want {
			t.Errorf("%v gives %v and %v, want %v", test.all, one, two, test.want)
		}
		if one.Owner == two.Owner || one.Owner <= test.all.First || two.Owner > test.want.Last() {
			t.Errorf("owners %d and %d of %v", one.Owner, two.Owner, test.want)
		}
		if test.all.Pods() != 0 {
			t.Errorf("%v has ranges of their own for %d pods", test.all, test.all.Pods())
		}
		p.Release(one)
		for range p.parts() - 1 {
			take(t, p)
		}
		if _, err := p.Take(); !errors.Is(err, ErrUsedUp) {
			t.Errorf("got %v, want %v", err, ErrUsedUp)
		}
	}
}
