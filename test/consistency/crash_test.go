package consistency

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
)

// mortal is a service that is killed and started again on the same directory.
type mortal struct {
	dir string
	// calls counts; those whose number is in last are the last of a process.
	calls atomic.Int64
	last  map[int64]bool
	now   atomic.Pointer[process]
}

// newMortal returns a running service that dies in answering these calls.
func newMortal(ctx context.Context, dir string, last map[int64]bool) (*mortal, error) {
	m := &mortal{dir: dir, last: last}
	p, err := startProcess(ctx, dir)
	m.now.Store(p)
	return m, err
}

// call implements caller. It returns errLost when there is somebody else to call.
func (m *mortal) call(ctx context.Context, c call) (reply, error) {
	p := m.now.Load()
	r, err := p.do(ctx, c, m.last[m.calls.Add(1)])
	if errors.Is(err, errLost) {
		select {
		case <-p.replaced:
		case <-ctx.Done():
		}
	}
	return r, err
}

// run starts the service again whenever it is dead, until ctx ends and takes
// the last one with it.
func (m *mortal) run(ctx context.Context) error {
	for {
		p := m.now.Load()
		if err := p.wait(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		next, err := startProcess(ctx, m.dir)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		m.now.Store(next)
		close(p.replaced)
	}
}

// TestLinearizableAcrossCrashes looks for an order of histories in the middle
// of which the process that serves them is killed, several times.
func TestLinearizableAcrossCrashes(t *testing.T) {
	rounds, crashes := 20, 4
	if testing.Short() {
		rounds = 3
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	total := map[string]int{}
	unknown := 0
	for round := range rounds {
		cs := crashingHistory(t, seed+uint64(round), crashes)
		wantLinearizable(t, cs.operations())
		count(total, cs.operations())
		for _, c := range cs {
			unknown += c.unknown
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("outcomes: %v", total)
	if unknown < rounds*crashes {
		t.Errorf("only %d writes were under way when the service was killed %d times", unknown, rounds*crashes)
	}
}

// crashingHistory runs clients of a service that is killed so many times, and
// then looks at what is left.
func crashingHistory(t *testing.T, seed uint64, crashes int) clients {
	t.Helper()
	const requests, n = 60, 8
	random := rand.New(rand.NewPCG(seed, 0))
	last := map[int64]bool{}
	for i := range crashes {
		// Each in its own part of the history, and all before its end.
		part := int64(requests * n * 3 / 4 / crashes)
		last[int64(i)*part+1+random.Int64N(part)] = true
	}
	dir := t.TempDir()
	ctx, kill := context.WithCancel(waiting(t))
	defer kill()
	service, err := newMortal(ctx, dir, last)
	if err != nil {
		t.Fatal(err)
	}
	group, clientsCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return service.run(ctx) })
	h := newHistory(service)
	cs := newClients(h, n, seed)
	group.Go(func() error {
		defer kill()
		return cs.run(clientsCtx, requests)
	})
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	survivor, err := survey(t, h, dir, n)
	if err != nil {
		t.Fatal(err)
	}
	return append(cs, survivor)
}

// surveyed is how many of the newest revisions a survey lists; of those before
// it takes one in as many.
const surveyed = 32

// survey reads, as one more client, what the store of a dead service still
// knows, of now and of the past.
func survey(t *testing.T, h *history, dir string, id int) (*client, error) {
	t.Helper()
	store, err := openStore(dir, 0)
	if err != nil {
		return nil, fmt.Errorf("what the killed service left behind: %w", err)
	}
	defer func() {
		if err := store.close(); err != nil {
			t.Error(err)
		}
	}()
	h.service = &service{store: store}
	c := newClients(h, 1, 0)[0]
	c.id = id
	for _, v := range []verb{list, compactedRev} {
		if err := c.do(t.Context(), request{Verb: v, ID: int(h.ids.Add(1))}); err != nil {
			return c, err
		}
	}
	for rev := max(1, store.CompactRevision()); rev <= c.newest; rev++ {
		if rev%surveyed != 0 && rev <= c.newest-surveyed {
			continue
		}
		if err := c.do(t.Context(), request{Verb: listAt, ID: int(h.ids.Add(1)), AtLeast: rev}); err != nil {
			return c, err
		}
	}
	return c, nil
}
