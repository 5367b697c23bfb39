package consistency

import (
	"fmt"

	"k8s.io/apimachinery/pkg/watch"
)

// session is one watch, from its beginning to its end, as its client saw it.
type session struct {
	sel selection
	// from and to are the lowest and the highest revision after which the watch
	// may have begun. They differ if the client did not say where.
	from, to int64
	// initial is set if the watch began with the objects there were.
	initial bool
	// events are what came, bookmarks included.
	events []event
	// expired is set if 410 Expired was the last that came.
	expired bool
}

// position returns the revision up to which the client has seen everything.
func (s *session) position() int64 {
	rev := s.from
	for _, e := range s.events {
		rev = max(rev, e.Rev)
	}
	return rev
}

// verify returns an error unless the session shows what follows from the past.
func (s *session) verify(p *past) error {
	var err error
	for start := s.from; start <= s.to; start++ {
		if err = s.verifyFrom(p, start); err == nil {
			return nil
		}
	}
	return fmt.Errorf("watch of %+v from %d to %d, initial %t: %w", s.sel, s.from, s.to, s.initial, err)
}

// verifyFrom is verify for a watch that begins after the revision start.
func (s *session) verifyFrom(p *past, start int64) error {
	events := s.events
	if s.initial {
		var err error
		if events, err = verifyInitial(events, p.at(s.sel, start)); err != nil {
			return fmt.Errorf("initial events at %d: %w", start, err)
		}
	}
	want := p.since(s.sel, start)
	seen := start
	for i, e := range events {
		if e.Type == watch.Bookmark {
			// It promises that all up to its revision has come, and no less.
			if e.Rev < seen || len(want) > 0 && want[0].Rev <= e.Rev {
				return fmt.Errorf("after %d events and revision %d: bookmark at %d, want first %+v", i, seen, e.Rev, want[:min(1, len(want))])
			}
			seen = e.Rev
			continue
		}
		if len(want) == 0 || e != want[0] {
			return fmt.Errorf("after %d events and revision %d: got %+v, want %+v", i, seen, e, want[:min(1, len(want))])
		}
		seen, want = e.Rev, want[1:]
	}
	return nil
}

// verifyInitial returns the events that follow the initial ones. If those are
// not exactly the state, it returns an error. If the watch was ended before
// they were all there, nothing may follow, and they must be part of it.
func verifyInitial(events []event, state map[string]version) ([]event, error) {
	got := map[string]version{}
	for len(events) > 0 && len(got) < len(state) {
		e := events[0]
		if e.Type != watch.Added || got[e.Key] != (version{}) || e.version != state[e.Key] {
			return nil, fmt.Errorf("got %+v, want %+v added", e, state[e.Key])
		}
		got[e.Key] = e.version
		events = events[1:]
	}
	return events, nil
}
