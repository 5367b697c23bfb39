package main

import (
	"context"
	"testing"
	"time"
)

// TestLoadKeepsAsManyAlive runs both paths for a moment and compares what the
// clients believe with what is stored, which record does.
func TestLoadKeepsAsManyAlive(t *testing.T) {
	for _, path := range []string{pathStorage, pathAPI} {
		t.Run(path, func(t *testing.T) {
			target, err := open(t.Context(), t.TempDir(), settings{path: path})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := target.close(); err != nil {
					t.Error(err)
				}
			}()
			c := newLoad(target.tasks, settings{clients: 3, live: 9})
			for _, want := range []record{{lifecycles: 8, live: 8}, {lifecycles: 28, live: 9}} {
				if err := c.run(t.Context(), want.lifecycles-c.made); err != nil {
					t.Fatal(err)
				}
				got, err := target.record(c)
				if err != nil {
					t.Fatal(err)
				}
				if got.lifecycles != want.lifecycles || got.live != want.live {
					t.Errorf("%d lifecycles and %d alive, want %d and %d", got.lifecycles, got.live, want.lifecycles, want.live)
				}
				if got.commit99 == 0 || got.request99 == 0 || got.logFile == 0 || got.stateFile == 0 || got.heap == 0 || got.private == 0 {
					t.Errorf("something is not recorded: %+v", got)
				}
			}
		})
	}
}

// forgetful loses what it is told to delete, as a broken server would.
type forgetful struct{ tasks }

func (forgetful) remove(context.Context, string) error { return nil }

func TestRecordNoticesWhatWasNotDeleted(t *testing.T) {
	target, err := open(t.Context(), t.TempDir(), settings{path: pathStorage})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := target.close(); err != nil {
			t.Error(err)
		}
	}()
	c := newLoad(forgetful{target.tasks}, settings{clients: 1, live: 1})
	if err := c.run(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if _, err := target.record(c); err == nil {
		t.Error("two tasks too many are no error")
	}
}

func TestRateIsOfTheLastRun(t *testing.T) {
	c := newLoad(instant{}, settings{clients: 2, live: 2})
	start := time.Now()
	if err := c.run(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	if least := 100 / time.Since(start).Seconds(); c.rate < least {
		t.Errorf("%.0f lifecycles a second, want %.0f at least", c.rate, least)
	}
	// Each task is three requests, and all but the live ones are deleted.
	if want := 3*100 + 98; len(c.requests) != want {
		t.Errorf("%d requests, want %d", len(c.requests), want)
	}
}

// instant takes no time.
type instant struct{}

func (instant) live(_ context.Context, _ string, took func(time.Duration)) error {
	for range 3 {
		took(0)
	}
	return nil
}

func (instant) remove(context.Context, string) error { return nil }
