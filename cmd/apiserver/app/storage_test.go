package app

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"
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

// TestPurgeTakesTheLockAlone has databases that cannot be opened: purge takes
// their lock all the same, and is refused while another process holds it.
func TestPurgeTakesTheLockAlone(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, dir string)
	}{
		{"whole", func(*testing.T, string) {}},
		{"corrupt", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "log.db"), []byte("no database"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"half missing", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "state.db")); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := t.TempDir()
			dir := filepath.Join(data, storageDir)
			if err := openDB(t, dir).Close(); err != nil {
				t.Fatal(err)
			}
			tt.damage(t, dir)
			unlock, err := lockStorage(t.Context(), clock.RealClock{}, data)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := kv.Open(dir, kv.Options{}); !errors.Is(err, kv.ErrLocked) {
				t.Errorf("a server that starts during a purge gets %v, want %v", err, kv.ErrLocked)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err = lockStorage(ctx, clock.RealClock{}, data)
			if !errors.Is(err, kv.ErrLocked) || !strings.Contains(err.Error(), "a server uses "+data+": stop it first") {
				t.Errorf("a purge beside another process gets %v", err)
			}
			if err := unlock(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPurgeNeedsNoDatabase(t *testing.T) {
	unlock, err := lockStorage(t.Context(), clock.RealClock{}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
}
