package consistency

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"golang.org/x/sync/errgroup"
)

// checkTime bounds the search for an order of one history. It is far more than
// a history needs; one without an order may take long to be found so.
const checkTime = time.Minute

// model is the specification as porcupine takes it.
func model() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return newState() },
		Step: func(s, input, output any) (bool, any) {
			next, want := s.(*state).apply(input.(request))
			// Without an answer, any would have been right.
			return output == nil || output.(response) == want, next
		},
		Equal:             func(a, b any) bool { return a.(*state).equal(b.(*state)) },
		Hash:              func(s any) uint64 { return s.(*state).digest },
		DescribeOperation: describe,
		DescribeState: func(s any) string {
			return fmt.Sprintf("revision %d, compacted %d: %v", s.(*state).rev, s.(*state).compacted, s.(*state).objects)
		},
	}
}

func describe(input, output any) string {
	if output == nil {
		return fmt.Sprintf("%+v: no answer", input)
	}
	return fmt.Sprintf("%+v: %+v", input, output)
}

// wantLinearizable fails the test unless there is an order of the operations.
func wantLinearizable(t *testing.T, operations []porcupine.Operation) {
	t.Helper()
	m := model()
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
	text := fmt.Sprintf("at revision %d, compacted %d, with %+v:", s.rev, s.compacted, s.objects)
	for _, op := range operations {
		if r := op.Input.(request); !done[r.ID] && op.Call <= due {
			_, want := s.apply(r)
			text += fmt.Sprintf("\n  %s\n    want %+v", describe(r, op.Output), want)
		}
	}
	return text
}

// clients are those of one history.
type clients []*client

func newClients(h *history, n int, seed uint64) clients {
	cs := make(clients, n)
	for i := range cs {
		cs[i] = &client{history: h, id: i, random: rand.New(rand.NewPCG(seed, uint64(i)))}
	}
	return cs
}

// run has all clients do so many requests each, at the same time.
func (cs clients) run(ctx context.Context, requests int) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range cs {
		group.Go(func() error { return c.run(ctx, requests) })
	}
	return group.Wait()
}

func (cs clients) operations() (all []porcupine.Operation) {
	for _, c := range cs {
		all = append(all, c.operations...)
	}
	return all
}

// TestLinearizable looks for an order of many short histories.
func TestLinearizable(t *testing.T) {
	rounds, requests := 64, 60
	if testing.Short() {
		rounds = 8
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	total := map[string]int{}
	for round := range rounds {
		s := newStore(t, 0)
		cs := newClients(newHistory(&service{store: s}), 8, seed+uint64(round))
		if err := cs.run(waiting(t), requests); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		wantLinearizable(t, cs.operations())
		count(total, cs.operations())
		if t.Failed() {
			return
		}
	}
	wantAllOutcomes(t, total)
}

// count adds up what came of the operations.
func count(total map[string]int, operations []porcupine.Operation) {
	for _, op := range operations {
		outcome := "no answer"
		if got, ok := op.Output.(response); ok {
			outcome = string(got.Failure)
		}
		total[fmt.Sprintf("%s: %s", op.Input.(request).Verb, outcome)]++
	}
}

// wantAllOutcomes fails the test if the clients never met: then it shows little.
func wantAllOutcomes(t *testing.T, total map[string]int) {
	t.Helper()
	t.Logf("outcomes: %v", total)
	for _, want := range []string{
		"create: ", "create: exists", "get: ", "get: not found", "get: too large a revision",
		"update: ", "update: not found", "update: precondition failed", "update: refused",
		"upsert: ", "upsert: precondition failed", "delete: ", "delete: not found", "delete: precondition failed",
		"delete: refused", "list: ", "list: too large a revision", "listAt: ", "listAt: expired", "compact: ",
	} {
		if total[want] == 0 {
			t.Errorf("no operation ended as %q", want)
		}
	}
}
