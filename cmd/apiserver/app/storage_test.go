package app

import (
	"context"
	"errors"
	"testing"
	"time"

	testclock "k8s.io/utils/clock/testing"

	"arl.io/arl/pkg/storage/kv"
)

// opened is what openWhenFree has returned.
type opened struct {
	db  *kv.DB
	err error
}

// openTaken opens a database that somebody has, beside the test.
func openTaken(t *testing.T, ctx context.Context, clk *testclock.FakeClock, dir string) <-chan opened {
	t.Helper()
	result := make(chan opened, 1)
	go func() {
		db, err := openWhenFree(ctx, clk, dir, kv.Options{})
		result <- opened{db, err}
	}()
	for deadline := time.Now().Add(time.Minute); !clk.HasWaiters(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the database is not waited for")
		}
	}
	return result
}

func openDB(t *testing.T, dir string) *kv.DB {
	t.Helper()
	db, err := kv.Open(dir, kv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// stepUntil lets time pass until there is a result.
func stepUntil(t *testing.T, clk *testclock.FakeClock, result <-chan opened) opened {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		select {
		case got := <-result:
			return got
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("no result")
		}
		clk.Step(lockPoll)
	}
}

func TestOpenWaitsForTheLock(t *testing.T) {
	dir := t.TempDir()
	other := openDB(t, dir)
	clk := testclock.NewFakeClock(time.Now())
	result := openTaken(t, t.Context(), clk, dir)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	got := stepUntil(t, clk, result)
	if got.err != nil {
		t.Fatal(got.err)
	}
	if err := got.db.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenGivesUp(t *testing.T) {
	dir := t.TempDir()
	other := openDB(t, dir)
	defer func() {
		if err := other.Close(); err != nil {
			t.Error(err)
		}
	}()
	clk := testclock.NewFakeClock(time.Now())
	if got := stepUntil(t, clk, openTaken(t, t.Context(), clk, dir)); !errors.Is(got.err, kv.ErrLocked) {
		t.Errorf("got %v", got.err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := openTaken(t, ctx, testclock.NewFakeClock(time.Now()), dir)
	cancel()
	if got := <-result; !errors.Is(got.err, kv.ErrLocked) {
		t.Errorf("told to stop: got %v", got.err)
	}
}
