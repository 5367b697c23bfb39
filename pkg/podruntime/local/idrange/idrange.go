// Package idrange gives each pod a range of the machine's user IDs that no other pod has.
//
// The kernel counts much of what a process can use up by user: pipe buffers, watches, descriptors on
// their way through sockets, signals, locked memory. Pods that share their users can take these from
// each other. A Pool also gives each pod an owner, the user who is charged for a whole user namespace.
//
// The package only computes. The caller records what it was given, and passes it to Hold when it starts
// again.
package idrange

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
)

// PerPod is how many users a pod has: all that files of images usually belong to, and as many as
// Kubernetes gives a pod.
const PerPod = 65536

// Default begins where systemd ends giving out ranges to containers, and ends with the numbers that
// every program takes for a user ID. It is enough for 4096 pods.
var Default = Range{First: 0x70000000, Size: 0x10000000}

// ErrUsedUp says that every range belongs to a pod.
var ErrUsedUp = errors.New("every range of user IDs is in use")

// Range is the IDs from First to First+Size-1. They are those of groups too.
type Range struct {
	First int `json:"first"`
	Size  int `json:"size"`
}

// Last returns the last ID of the range.
func (r Range) Last() int { return r.First + r.Size - 1 }

// String returns the range in the form that Parse takes.
func (r Range) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last()) }

// Set parses the value of a flag.
func (r *Range) Set(text string) (err error) {
	*r, err = Parse(text)
	return err
}

// Type names the kind of value in help texts.
func (r *Range) Type() string { return "range" }

// Overlaps says that some ID is in both ranges.
func (r Range) Overlaps(other Range) bool {
	return r.Size > 0 && other.Size > 0 && r.First <= other.Last() && other.First <= r.Last()
}

// minShared is the least that a range can be: root, and another user who owns the pod's user namespace.
const minShared = 2

// Parse reads FIRST-LAST.
func Parse(text string) (Range, error) {
	from, to, ok := strings.Cut(text, "-")
	first, firstErr := strconv.Atoi(from)
	last, lastErr := strconv.Atoi(to)
	if !ok || firstErr != nil || lastErr != nil {
		return Range{}, fmt.Errorf("%q is not of the form FIRST-LAST, such as %v", text, Default)
	}
	r := Range{First: first, Size: last - first + 1}
	switch {
	case first < 1:
		return Range{}, fmt.Errorf("%s includes root: begin above the users of this machine", text)
	case last > math.MaxInt32:
		return Range{}, fmt.Errorf("%s ends above %d, the highest ID that all programs take", text, math.MaxInt32)
	case r.Size < minShared:
		return Range{}, fmt.Errorf("%s is too small: name at least %d IDs, and %d for each pod", text, minShared, PerPod)
	}
	return r, nil
}

// Pods returns how many pods can have a range of their own. It is 0 if all share one.
func (r Range) Pods() int {
	if r.Size < 2*PerPod {
		return 0
	}
	return r.Size / PerPod
}

// Lease is what one pod has.
type Lease struct {
	Range
	// Owner owns the pod's user namespace. No other pod has it for an owner, even if they share a range.
	Owner int `json:"owner"`
}

// Pool gives out parts of a range. It is safe for concurrent use.
type Pool struct {
	all Range

	mu sync.Mutex
	// held counts the holders of each part. More than one has a part only if an earlier version of the
	// program shared it.
	held map[int]int
	// next is where the search for a free part begins: what was given back last is taken last.
	next int
}

// NewPool returns a pool of all, which gives out the parts in turn from a place that depends on seed:
// two servers of one machine that use the same range are unlikely to use the same parts of it.
func NewPool(all Range, seed uint32) *Pool {
	p := &Pool{all: all, held: map[int]int{}}
	p.next = int(seed % uint32(p.parts()))
	return p
}

// parts returns how many leases there are.
func (p *Pool) parts() int {
	if n := p.all.Pods(); n > 0 {
		return n
	}
	return min(p.all.Size, PerPod) - 1
}

// lease returns the lease of a part.
func (p *Pool) lease(part int) Lease {
	if p.all.Pods() == 0 {
		shared := Range{First: p.all.First, Size: min(p.all.Size, PerPod)}
		return Lease{Range: shared, Owner: shared.First + 1 + part}
	}
	first := p.all.First + part*PerPod
	return Lease{Range: Range{First: first, Size: PerPod}, Owner: first}
}

// Take returns a lease that nobody else has until it is passed to Release, or ErrUsedUp.
func (p *Pool) Take() (Lease, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := p.parts(); len(p.held) < n; {
		part := p.next
		p.next = (p.next + 1) % n
		if p.held[part] == 0 {
			p.held[part] = 1
			return p.lease(part), nil
		}
	}
	return Lease{}, fmt.Errorf("%w: %v is enough for %d pods", ErrUsedUp, p.all, p.parts())
}

// Hold says that a lease is in use since before the pool was made. What is not of this pool is ignored.
func (p *Pool) Hold(l Lease) { p.add(l, 1) }

// Release gives back a lease of Take or Hold.
func (p *Pool) Release(l Lease) { p.add(l, -1) }

func (p *Pool) add(l Lease, count int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	first, last := p.partsOf(l)
	for part := first; part <= last; part++ {
		if p.held[part] += count; p.held[part] <= 0 {
			delete(p.held, part)
		}
	}
}

// partsOf returns the first and the last part that a lease takes something of.
func (p *Pool) partsOf(l Lease) (first, last int) {
	if p.all.Pods() == 0 {
		part := l.Owner - p.all.First - 1
		if part < 0 || part >= p.parts() {
			return 0, -1
		}
		return part, part
	}
	if !p.all.Overlaps(l.Range) {
		return 0, -1
	}
	first = max(0, l.First-p.all.First) / PerPod
	return first, min((l.Last()-p.all.First)/PerPod, p.parts()-1)
}
