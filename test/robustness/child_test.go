//go:build linux

package robustness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"

	"arl.io/arl/pkg/storage/kv"
	"arl.io/arl/test/robustness/fault"
)

// childEnv carries the order of a child, in JSON.
const childEnv = "ARL_ROBUSTNESS_CHILD"

// order is what a child is to do.
type order struct {
	Dir string
	// Layer is what it writes through.
	Layer string
	Seed  uint64
	// Name begins the IDs of its writes.
	Name string
	// Writers write at the same time, until the child is killed. 0: one writer
	// takes the steps of the script, and the child ends.
	Writers int
	// MaxValue bounds the size of most values; one in thirty is far larger.
	MaxValue int
	// Grow has one writer write so many megabytes instead.
	Grow int
	// Supervised has the child's calls caught, by the other end of file 3. It is set by execute.
	Supervised bool
	// StopWhenFull ends the child once so many writes were refused for want of
	// space. It then writes to ever new keys, so that there will be some.
	StopWhenFull int
}

// Exit codes of a child that is not killed.
const (
	exitDone    = 0
	exitFailed  = 3 // the database has failed
	exitRefused = 4 // it could not be opened
	exitBroken  = 5 // it did what it must not do
)

// child is a process that writes. Every line it prints is one write(2), so
// what it has printed is known whenever it is killed.
type child struct {
	order
	db     *kv.DB
	engine engine
	mu     sync.Mutex
	next   int
	full   int
	done   chan struct{}
}

// largeAbove has databases keep a part of the values in their files only, of
// each size of values that the tests choose.
const largeAbove = 150

func runChild(encoded string) (code int) {
	c := &child{done: make(chan struct{})}
	if err := json.Unmarshal([]byte(encoded), &c.order); err != nil {
		return c.say(exitBroken, "broken %v", err)
	}
	if c.Supervised {
		if err := fault.Install(3); err != nil {
			return c.say(exitBroken, "broken %v", err)
		}
	}
	c.say(0, "opening")
	var err error
	if c.db, err = kv.Open(c.Dir, kv.Options{LargeValueBytes: largeAbove}); err != nil {
		return c.say(exitRefused, "refused %q", err.Error())
	}
	if c.engine, err = newEngine(c.Layer, c.db); err != nil {
		return c.say(exitBroken, "broken %v", err)
	}
	c.say(0, "open")
	switch {
	case c.Grow > 0:
		err = c.grow()
	case c.Writers == 0:
		err = c.script()
	default:
		err = c.write()
	}
	switch {
	case c.db == nil:
		return c.say(exitRefused, "refused %q", err.Error())
	case errors.Is(err, kv.ErrFailed) || c.db.Err() != nil:
		code = c.say(exitFailed, "failed %q", c.db.Err().Error())
	case err != nil:
		code = c.say(exitBroken, "broken %q", err.Error())
	}
	if err := c.db.Close(); err != nil {
		c.say(0, "closing %q", err.Error())
	}
	return code
}

func (c *child) say(code int, format string, args ...any) int {
	_, _ = os.Stdout.WriteString(fmt.Sprintf(format, args...) + "\n") // the parent sees that it is missing
	return code
}

// write writes at random until the child is killed or the database fails.
func (c *child) write() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	errs := make(chan error, c.Writers+1)
	var wg sync.WaitGroup
	for i := range c.Writers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(c.Seed, uint64(i)))
			err := error(nil)
			for err == nil && ctx.Err() == nil {
				err = c.writeAny(ctx, rnd)
			}
			errs <- err
			cancel()
		})
	}
	wg.Go(func() {
		rnd := rand.New(rand.NewPCG(c.Seed, 1<<32))
		for ctx.Err() == nil {
			rev := c.db.Snapshot().Revision()
			if err := c.db.Compact(ctx, max(1, rev-rnd.Int64N(200))); errors.Is(err, kv.ErrFailed) {
				errs <- err
				break
			}
			if c.db.WaitRevision(ctx, rev+20) != nil {
				break
			}
		}
		cancel()
	})
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return nil
}

const childKeys = 80

// writeAny writes to a key that others write to as well.
func (c *child) writeAny(ctx context.Context, rnd *rand.Rand) error {
	keys := childKeys
	if c.StopWhenFull > 0 {
		keys = 1 << 20 // so many that they never come to an end
	}
	key := fmt.Sprintf("/pods/%02d", rnd.IntN(keys))
	now, exists := c.db.Snapshot().Get(key)
	if c.StopWhenFull > 0 && rnd.IntN(10) == 0 { // a full disk must take this
		c.db.Snapshot().Ascend("", key, func(e kv.Entry) bool {
			key, now, exists = e.Key, e, true
			return false
		})
	}
	if exists && rnd.IntN(4) == 0 {
		return c.remove(ctx, key, now.ModRev)
	}
	size := rnd.IntN(c.MaxValue + 1)
	if rnd.IntN(30) == 0 {
		size *= 50
	}
	return c.put(ctx, key, size, now.ModRev)
}

// id names a write; the parent makes its value from it.
func (c *child) id(size int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	return fmt.Sprintf("%s.%d.%d", c.Name, c.next, size)
}

func (c *child) put(ctx context.Context, key string, size int, expect int64) error {
	id := c.id(size)
	c.say(0, "put %s %s", id, key)
	rev, err := c.engine.put(ctx, key, makeValue(id, size), expect)
	return c.answered(id, rev, err)
}

func (c *child) remove(ctx context.Context, key string, expect int64) error {
	id := c.id(0)
	c.say(0, "delete %s %s", id, key)
	rev, err := c.engine.remove(ctx, key, expect)
	return c.answered(id, rev, err)
}

// answered tells the parent how a write has ended. It returns an error after
// which there is no going on.
func (c *child) answered(id string, rev int64, err error) error {
	switch {
	case err == nil:
		c.say(0, "ack %s %d", id, rev)
		return nil
	case noSpace(err):
		c.mu.Lock()
		defer c.mu.Unlock()
		c.full++
		c.say(0, "full %s", id)
		if c.StopWhenFull > 0 && c.full >= c.StopWhenFull {
			return context.Canceled
		}
		return nil
	case errors.Is(err, context.Canceled) || c.db.Err() != nil:
		return err
	}
	// Only a database that has failed leaves it open what became of a write.
	c.say(0, "no %s", id)
	return nil
}

// makeValue is the value of a put: nothing but its own ID can be taken for it.
func makeValue(id string, size int) string {
	value := id + "|"
	if n := size - len(value); n > 0 {
		value += strings.Repeat(id+",", n/(len(id)+1)+1)[:n]
	}
	return value
}
