package kv

import (
	"maps"
	"slices"
	"strings"
)

// model is what a database should be, in a map and a slice.
type model struct {
	rev, compacted int64
	now            map[string]Entry
	// states[i] is the content at revision i; events[i] the write of revision i.
	states []map[string]Entry
	events []Event
}

func newModel() *model {
	return &model{rev: 1, now: map[string]Entry{}, states: []map[string]Entry{{}, {}}, events: make([]Event, 2)}
}

// apply is the specification of DB.Apply.
func (m *model) apply(op Op) (Entry, error) {
	old, exists := m.now[op.Key]
	if old.ModRev != op.Expect || op.Delete && !exists {
		return Entry{}, &ConflictError{Key: op.Key, Exists: exists, Current: old}
	}
	m.rev++
	ev := Event{Rev: m.rev, Key: op.Key, Delete: op.Delete, PrevValue: old.Value, PrevRev: old.ModRev, CreateRev: old.CreateRev}
	out := old
	out.ModRev = m.rev
	if op.Delete {
		delete(m.now, op.Key)
	} else {
		if !exists {
			out.CreateRev, ev.CreateRev = m.rev, m.rev
		}
		out.Key, out.Value, out.Expiry, out.Tags = op.Key, op.Value, op.Expiry, op.Tags
		ev.Value = op.Value
		m.now[op.Key] = out
	}
	m.states = append(m.states, maps.Clone(m.now))
	m.events = append(m.events, ev)
	return out, nil
}

func sorted(state map[string]Entry) []Entry {
	return slices.SortedFunc(maps.Values(state), func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
}

// withTag returns the keys of a state that are found by a tag, in order.
func withTag(state map[string]Entry, tag uint64) (keys []string) {
	for _, e := range sorted(state) {
		if tag&Searchable != 0 && hasTag(e.Tags, tag) {
			keys = append(keys, e.Key)
		}
	}
	return keys
}

// eventsOf returns the writes in (after, upTo] to keys with a prefix.
func (m *model) eventsOf(prefix string, after, upTo int64) (events []Event) {
	for _, ev := range m.events[after+1 : upTo+1] {
		if strings.HasPrefix(ev.Key, prefix) {
			events = append(events, ev)
		}
	}
	return events
}
