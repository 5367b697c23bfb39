package consistency

import (
	"math"
	"slices"
	"testing"

	"github.com/anishathalye/porcupine"
	"k8s.io/apimachinery/pkg/watch"
)

// asked makes an operation of one client that is over when the next begins.
// Its ID is its number in the history.
func asked(id int, r request, output any) porcupine.Operation {
	r.ID = id
	return porcupine.Operation{Input: r, Call: int64(10 * id), Output: output, Return: int64(10*id + 5)}
}

// unanswered makes an operation that got no answer.
func unanswered(id int, r request) porcupine.Operation {
	op := asked(id, r, nil)
	op.Return = math.MaxInt64
	return op
}

func shown(uid, writer, count int, rev int64) response {
	return response{Object: object{UID: uid, Writer: writer, Count: count, Rev: rev}}
}

func listed(rev int64, objs ...object) response {
	r := response{Rev: rev}
	copy(r.Objects[:], objs)
	return r
}

// TestModel shows which histories are taken for linearizable and which not.
// Each begins with two objects, the first of which is then counted up.
func TestModel(t *testing.T) {
	first, second := object{UID: 1, Writer: 3, Count: 1, Rev: 4}, object{UID: 2, Writer: 2, Rev: 3}
	beginning := []porcupine.Operation{
		asked(1, request{Verb: create}, shown(1, 1, 0, 2)),
		asked(2, request{Verb: create, Key: 1}, shown(2, 2, 0, 3)),
		asked(3, request{Verb: update, Change: increment}, shown(1, 3, 1, 4)),
	}
	tests := []struct {
		name string
		then []porcupine.Operation
		ok   bool
	}{
		{"read", []porcupine.Operation{asked(4, request{Verb: get}, shown(1, 3, 1, 4))}, true},
		{"stale read", []porcupine.Operation{asked(4, request{Verb: get}, shown(1, 1, 0, 2))}, false},
		{"list", []porcupine.Operation{asked(4, request{Verb: list}, listed(4, first, second))}, true},
		{"list of two revisions", []porcupine.Operation{
			asked(4, request{Verb: list}, listed(4, object{UID: 1, Writer: 1, Rev: 2}, second))}, false},
		{"list of the past", []porcupine.Operation{
			asked(4, request{Verb: listAt, AtLeast: 2}, listed(2, object{UID: 1, Writer: 1, Rev: 2}))}, true},
		{"list of a past that was not", []porcupine.Operation{
			asked(4, request{Verb: listAt, AtLeast: 2}, listed(2, first))}, false},
		{"expired without compaction", []porcupine.Operation{
			asked(4, request{Verb: listAt, AtLeast: 2}, response{Failure: expired})}, false},
		{"expired by compaction", []porcupine.Operation{
			asked(4, request{Verb: compact, AtLeast: 3}, response{}),
			asked(5, request{Verb: listAt, AtLeast: 2}, response{Failure: expired})}, true},
		{"update", []porcupine.Operation{asked(4, request{Verb: update, Rev: 4}, shown(1, 4, 2, 5))}, true},
		{"lost update", []porcupine.Operation{asked(4, request{Verb: update}, shown(1, 4, 1, 5))}, false},
		{"reused revision", []porcupine.Operation{asked(4, request{Verb: update}, shown(1, 4, 2, 4))}, false},
		{"revision left out", []porcupine.Operation{asked(4, request{Verb: update}, shown(1, 4, 2, 6))}, false},
		{"precondition not checked", []porcupine.Operation{asked(4, request{Verb: update, Rev: 3}, shown(1, 4, 2, 5))}, false},
		{"conflict without reason", []porcupine.Operation{
			asked(4, request{Verb: remove, UID: 1}, response{Failure: precondition})}, false},
		{"created twice", []porcupine.Operation{asked(4, request{Verb: create}, shown(4, 4, 0, 5))}, false},
		{"deletion", []porcupine.Operation{
			asked(4, request{Verb: remove}, shown(1, 3, 1, 5)),
			asked(5, request{Verb: get}, response{Failure: notFound})}, true},
		{"deletion undone", []porcupine.Operation{
			asked(4, request{Verb: remove}, shown(1, 3, 1, 5)),
			asked(5, request{Verb: get}, shown(1, 3, 1, 4))}, false},
		{"acknowledged write lost", []porcupine.Operation{asked(4, request{Verb: current}, response{Rev: 3})}, false},
		{"unanswered write that took effect", []porcupine.Operation{
			unanswered(4, request{Verb: update}),
			asked(5, request{Verb: get}, shown(1, 4, 2, 5))}, true},
		{"unanswered write that took effect late", []porcupine.Operation{
			unanswered(4, request{Verb: update}),
			asked(5, request{Verb: get}, shown(1, 3, 1, 4)),
			asked(6, request{Verb: get}, shown(1, 4, 2, 5))}, true},
		{"unanswered write that did not", []porcupine.Operation{
			unanswered(4, request{Verb: update}),
			asked(5, request{Verb: update}, shown(1, 5, 2, 5))}, true},
		{"unanswered write that came and went", []porcupine.Operation{
			unanswered(4, request{Verb: update}),
			asked(5, request{Verb: get}, shown(1, 4, 2, 5)),
			asked(6, request{Verb: get}, shown(1, 3, 1, 4))}, false},
		{"effect before the cause", []porcupine.Operation{
			asked(4, request{Verb: get}, shown(1, 5, 2, 5)),
			unanswered(5, request{Verb: update})}, false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			operations := append(slices.Clone(beginning), tc.then...)
			m := model(gaps(operations))
			if ok := porcupine.CheckOperations(m, append(operations, theEnd(operations))); ok != tc.ok {
				t.Errorf("linearizable: %t, want %t", ok, tc.ok)
			}
		})
	}
}

// TestSessionVerify shows which watches are taken for right and which not.
func TestSessionVerify(t *testing.T) {
	a := version{Key: "ns-1/a", Serial: "1", Color: "red", Rev: 2}
	b := version{Key: "ns-1/b", Serial: "2", Color: "blue", Rev: 3}
	blueA := version{Key: "ns-1/a", Serial: "3", Color: "blue", Rev: 4}
	redB := version{Key: "ns-1/b", Serial: "4", Color: "red", Rev: 5}
	p := &past{}
	for _, v := range []version{a, b, blueA, redB} {
		p.add(v.Rev, v.Key, v)
	}
	p.add(6, redB.Key, version{})
	if err := p.complete(); err != nil {
		t.Fatal(err)
	}
	added := func(v version) event { return event{watch.Added, v} }
	modified := func(v version) event { return event{watch.Modified, v} }
	deleted := func(v version, rev int64) event { return event{watch.Deleted, v.at(rev)} }
	bookmark := func(rev int64) event { return event{watch.Bookmark, version{Rev: rev}} }
	everything, red := selection{}, selection{Color: "red"}
	tests := []struct {
		name   string
		sel    selection
		from   int64
		init   bool
		events []event
		ok     bool
	}{
		{"all", everything, 1, false, []event{added(a), added(b), modified(blueA), modified(redB), deleted(redB, 6), bookmark(6)}, true},
		{"ended early", everything, 1, false, []event{added(a)}, true},
		{"a hole", everything, 1, false, []event{added(a), modified(blueA)}, false},
		{"a hole before a bookmark", everything, 1, false, []event{added(a), bookmark(3)}, false},
		{"a hole at the beginning", everything, 1, false, []event{added(b)}, false},
		{"an event twice", everything, 1, false, []event{added(a), added(a)}, false},
		{"events in another order", everything, 1, false, []event{added(b), added(a)}, false},
		{"an event before the beginning", everything, 2, false, []event{added(a)}, false},
		{"an event behind its bookmark", everything, 1, false, []event{bookmark(2), added(a)}, false},
		{"bookmarks that go back", everything, 4, false, []event{modified(redB), bookmark(4)}, false},
		{"the object after a deletion's", everything, 5, false, []event{deleted(b, 6)}, false},
		{"a deletion at the wrong revision", everything, 5, false, []event{deleted(redB, 5)}, false},
		{"selected", red, 1, false, []event{added(a), deleted(a, 4), added(redB), deleted(redB, 6)}, true},
		{"left the selection unnoticed", red, 1, false, []event{added(a), added(redB)}, false},
		{"left the selection as it is now", red, 2, false, []event{deleted(blueA, 4)}, false},
		{"joined the selection as a change", red, 4, false, []event{modified(redB)}, false},
		{"initial events", everything, 3, true, []event{added(b), added(a), bookmark(3), modified(blueA)}, true},
		{"initial events of two revisions", everything, 3, true, []event{added(blueA), added(b)}, false},
		{"an initial event missing", everything, 3, true, []event{added(a), bookmark(3)}, false},
		{"an initial event too many", red, 3, true, []event{added(a), added(b)}, false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			s := &session{sel: tc.sel, from: tc.from, to: tc.from, initial: tc.init, events: tc.events}
			if err := s.verify(p); (err == nil) != tc.ok {
				t.Errorf("got %v, want it right: %t", err, tc.ok)
			}
		})
	}
}
