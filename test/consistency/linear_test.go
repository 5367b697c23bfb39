package consistency

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/anishathalye/porcupine"
	"golang.org/x/sync/errgroup"
)

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
