package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// clients are those who make and end tasks, and what they remember.
type clients struct {
	tasks tasks
	each  []worker
	// made counts lifecycles that have begun.
	made int
	// rate is how many a second the last run made, and requests how long each
	// of its requests took.
	rate     float64
	requests []time.Duration
}

// worker is one of them.
type worker struct {
	// alive are the names of its tasks that have not been deleted, oldest first.
	alive []string
	// most is how many may be.
	most     int
	made     int
	requests []time.Duration
}

func newLoad(t tasks, s settings) *clients {
	c := &clients{tasks: t, each: make([]worker, s.clients)}
	for i := range c.each {
		c.each[i].most = s.live / s.clients
	}
	return c
}

// run makes n more tasks; each client deletes its oldest one for each that it
// makes above its share.
func (c *clients) run(ctx context.Context, n int) error {
	start := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for i := range c.each {
		share := n / len(c.each)
		if i < n%len(c.each) {
			share++
		}
		group.Go(func() error { return c.each[i].run(ctx, c.tasks, i, share) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	c.rate, c.made, c.requests = float64(n)/time.Since(start).Seconds(), c.made+n, nil
	for i := range c.each {
		c.requests = slices.Concat(c.requests, c.each[i].requests)
		c.each[i].requests = nil
	}
	return nil
}

func (c *worker) run(ctx context.Context, t tasks, id, n int) error {
	took := func(d time.Duration) { c.requests = append(c.requests, d) }
	for range n {
		name := fmt.Sprintf("task-%d-%d", id, c.made)
		c.made++
		if err := t.live(ctx, name, took); err != nil {
			return fmt.Errorf("task %s: %w", name, err)
		}
		c.alive = append(c.alive, name)
		if len(c.alive) <= c.most {
			continue
		}
		if err := timed(took, func() error { return t.remove(ctx, c.alive[0]) }); err != nil {
			return fmt.Errorf("delete task %s: %w", c.alive[0], err)
		}
		c.alive = c.alive[1:]
	}
	return nil
}

func (c *clients) alive() (n int) {
	for i := range c.each {
		n += len(c.each[i].alive)
	}
	return n
}
