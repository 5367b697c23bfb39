package consistency

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// mortal is a service that is killed and started again on the same directory.
type mortal struct {
	dir string
	// answers counts; dying gets a value when the count reaches one of deaths.
	answers atomic.Int64
	deaths  map[int64]bool
	dying   chan struct{}

	// mu is held for writing from before the kill until the next process runs.
	mu  sync.RWMutex
	now *process
}

// newMortal returns a running service that is to die after each of so many
// answers, or sooner.
func newMortal(dir string, deaths ...int64) (*mortal, error) {
	m := &mortal{dir: dir, deaths: map[int64]bool{}, dying: make(chan struct{}, len(deaths))}
	for _, n := range deaths {
		m.deaths[n] = true
	}
	var err error
	m.now, err = startProcess(dir)
	return m, err
}

// call implements caller.
func (m *mortal) call(ctx context.Context, c call) (reply, error) {
	m.mu.RLock()
	p := m.now
	m.mu.RUnlock()
	r, err := p.call(ctx, c)
	if err == nil && m.deaths[m.answers.Add(1)] {
		m.dying <- struct{}{}
	}
	return r, err
}

// run kills and starts the service whenever it is time, until ctx ends.
func (m *mortal) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.dying:
		}
		if err := m.rebirth(); err != nil {
			return err
		}
	}
}

func (m *mortal) rebirth() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.now.kill(); err != nil {
		return err
	}
	next, err := startProcess(m.dir)
	if err != nil {
		return err
	}
	m.now = next
	return nil
}

// TestLinearizableAcrossCrashes looks for an order of histories in the middle
// of which the process that serves them is killed, several times.
func TestLinearizableAcrossCrashes(t *testing.T) {
	rounds, crashes := 12, 4
	if testing.Short() {
		rounds = 3
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	total := map[string]int{}
	unknown := 0
	for round := range rounds {
		cs := crashingHistory(t, seed+uint64(round), crashes)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
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
	deaths := make([]int64, crashes)
	for i := range deaths {
		// Each in its own part of the history, and all before its end.
		part := int64(requests * n * 3 / 4 / crashes)
		deaths[i] = int64(i)*part + 1 + random.Int64N(part)
	}
	dir := t.TempDir()
	service, err := newMortal(dir, deaths...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(waiting(t))
	ended := make(chan error, 1)
	go func() { ended <- service.run(ctx) }()
	h := newHistory(service)
	cs := newClients(h, n, seed)
	if err := cs.run(ctx, requests); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := service.now.kill(); err != nil {
		t.Error(err)
	}
	survivor, err := survey(t, h, dir, n)
	if err != nil {
		t.Error(err)
	}
	return append(cs, survivor)
}

// survey reads, as one more client, all that the store of a dead service still
// knows: a list at every revision that is left.
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
		if err := c.do(t.Context(), request{Verb: listAt, ID: int(h.ids.Add(1)), AtLeast: rev}); err != nil {
			return c, err
		}
	}
	return c, nil
}
