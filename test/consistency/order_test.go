package consistency

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// checkTime bounds the search for an order of one history. It is far more than
// a history needs; one without an order may take long to be found so.
const checkTime = time.Minute

// model is the specification as porcupine takes it, for a history with these
// gaps between the revisions that were answered.
//
// A request without an answer has taken effect in a gap, or never, which is the
// same as after the end. To say so leaves out no order that might be right,
// because each revision is of one write; and without it the search would try
// those requests everywhere.
func model(gaps map[int64]bool) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return newState() },
		Step: func(from, input, output any) (bool, any) {
			s, r := from.(*state), input.(request)
			next, want := s.apply(r)
			switch {
			case output != nil:
				return output.(response) == want, next
			case s.ended:
				return true, s
			case next.rev > s.rev:
				return gaps[next.rev], next
			}
			return next.compacted > s.compacted, next
		},
		Equal:             func(a, b any) bool { return a.(*state).equal(b.(*state)) },
		Hash:              func(s any) uint64 { return s.(*state).digest },
		DescribeOperation: describe,
		DescribeState: func(s any) string {
			return fmt.Sprintf("revision %d, compacted %d: %v", s.(*state).rev, s.(*state).compacted, s.(*state).objects)
		},
	}
}

// gaps returns the revisions that somebody saw, or saw later ones, and that no
// answered request wrote.
func gaps(operations []porcupine.Operation) map[int64]bool {
	newest := int64(1)
	wrote := map[int64]bool{newest: true}
	for _, op := range operations {
		got, answered := op.Output.(response)
		if !answered {
			continue
		}
		newest = max(newest, got.Rev, got.Object.Rev)
		if rev, ok := op.Input.(request).wrote(got); ok {
			wrote[rev] = true
		}
	}
	missing := map[int64]bool{}
	for rev := int64(1); rev <= newest; rev++ {
		missing[rev] = !wrote[rev]
	}
	return missing
}

// theEnd returns an operation that begins when all that were answered are.
func theEnd(operations []porcupine.Operation) porcupine.Operation {
	last := porcupine.Operation{Input: request{Verb: end}, Output: response{}, Return: math.MaxInt64}
	for _, op := range operations {
		last.ClientId = max(last.ClientId, op.ClientId+1)
		if op.Output != nil {
			last.Call = max(last.Call, op.Return+1)
		}
	}
	return last
}

func describe(input, output any) string {
	if output == nil {
		return fmt.Sprintf("%v: no answer", input)
	}
	return fmt.Sprintf("%v: %v", input, output)
}

// wantLinearizable fails the test unless there is an order of the operations.
func wantLinearizable(t *testing.T, operations []porcupine.Operation) {
	t.Helper()
	m := model(gaps(operations))
	operations = append(slices.Clone(operations), theEnd(operations))
	result, info := porcupine.CheckOperationsVerbose(m, operations, checkTime)
	if result == porcupine.Ok {
		return
	}
	dir, err := os.MkdirTemp("", "arl-history-")
	if err != nil {
		t.Error(err)
	}
	page := filepath.Join(dir, "history.html")
	if err := porcupine.VisualizePath(m, info, page); err != nil {
		t.Error(err)
	}
	t.Errorf("no order of the %d operations explains their answers (%s); open %s in a browser\n%s",
		len(operations), result, page, whereItEnds(info, operations))
}

// whereItEnds describes the state after the longest order of operations that
// was found, and those that had to come next and could not.
func whereItEnds(info porcupine.LinearizationInfo, operations []porcupine.Operation) string {
	var longest []porcupine.Operation
	for _, order := range info.PartialLinearizationsOperations()[0] {
		if len(order) > len(longest) {
			longest = order
		}
	}
	s := newState()
	done := map[int]bool{}
	for _, op := range longest {
		s, _ = s.apply(op.Input.(request))
		done[op.Input.(request).ID] = true
	}
	due := int64(math.MaxInt64)
	for _, op := range operations {
		if !done[op.Input.(request).ID] {
			due = min(due, op.Return)
		}
	}
	text := fmt.Sprintf("at revision %d, compacted %d, with %v:", s.rev, s.compacted, s.objects)
	for _, op := range operations {
		if r := op.Input.(request); !done[r.ID] && op.Call <= due {
			_, want := s.apply(r)
			text += fmt.Sprintf("\n  %s\n    want %v", describe(r, op.Output), want)
		}
	}
	return text
}
