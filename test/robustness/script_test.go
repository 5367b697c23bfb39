//go:build linux

package robustness

import (
	"context"
	"errors"
	"fmt"

	"arl.io/arl/pkg/storage/kv"
)

// script takes steps that make every kind of call to both files: a creation
// (before this), small and large writes, compactions with what they trim, and
// a restart. One writer, one order: the n-th call is the same one each time, or nearly so.
func (c *child) script() error {
	ctx := context.Background()
	step := func(key string, size int, remove bool) error {
		name := "/pods/" + key
		now, exists := c.db.Snapshot().Get(name)
		if remove && exists {
			return c.remove(ctx, name, now.ModRev)
		}
		return c.put(ctx, name, size, now.ModRev)
	}
	for round := range 2 {
		for i := range 6 {
			if err := step(fmt.Sprint(i), 100, i == 2 && round == 1); err != nil {
				return err
			}
		}
		if err := step("large", 150_000, false); err != nil {
			return err
		}
		if err := c.compact(ctx); err != nil {
			return err
		}
		if err := step("0", 10, true); err != nil {
			return err
		}
	}
	if err := c.db.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	var err error
	if c.db, err = kv.Open(c.Dir, kv.Options{LargeValueBytes: largeAbove}); err != nil {
		return err
	}
	if c.engine, err = newEngine(c.Layer, c.db); err != nil {
		return err
	}
	for i := range 4 {
		if err := step(fmt.Sprint(i), 40_000, false); err != nil {
			return err
		}
	}
	if err := c.compact(ctx); err != nil {
		return err
	}
	return step("last", 1, false)
}

// compact compacts, unless there is no room for that.
func (c *child) compact(ctx context.Context) error {
	err := c.db.Compact(ctx, c.db.Snapshot().Revision())
	if errors.Is(err, kv.ErrNoSpace) {
		return nil
	}
	return err
}

// grow writes large values until the log has outgrown the memory that it is
// mapped to.
func (c *child) grow() error {
	for i := range c.Grow {
		if err := c.put(context.Background(), fmt.Sprintf("/pods/%d", i), 1<<20, 0); err != nil {
			return err
		}
	}
	return nil
}
