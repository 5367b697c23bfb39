package kv

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// killEnv names the directory in which a copy of the test binary writes until it is killed.
const killEnv = "ARL_KV_KILL_DIR"

// TestKill kills a process that writes and compacts, several times, and finds
// each write that it acknowledged, and no revision used twice.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acked := map[string]int64{}
	newest := int64(1)
	for round := range 5 {
		used := map[int64]bool{}
		for _, line := range killedAfter(t, dir, 300) {
			var key string
			var rev int64
			if _, err := fmt.Sscan(line, &key, &rev); err != nil {
				t.Fatalf("round %d: the writing process said %q", round, line)
			}
			if rev <= newest || used[rev] {
				t.Errorf("round %d: revision %d was used before", round, rev)
			}
			used[rev] = true
			acked[key] = max(acked[key], rev)
		}
		db := openTest(t, dir, Options{})
		s := db.Snapshot()
		newest = s.Revision()
		for key, rev := range acked {
			if e, _ := s.Get(key); e.ModRev < rev || e.ModRev > newest {
				t.Errorf("round %d: %s is at %d, was acknowledged at %d", round, key, e.ModRev, rev)
			}
		}
		closeTest(t, db)
	}
	if newest < 1000 {
		t.Errorf("only %d revisions were written", newest)
	}
}

// killedAfter runs the writing process, kills it in mid-write once it has
// printed so many lines, and returns all that it printed.
func killedAfter(t *testing.T, dir string, lines int) (printed []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWriter$")
	cmd.Env = append(os.Environ(), killEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for in := bufio.NewScanner(out); in.Scan(); {
		if printed = append(printed, in.Text()); len(printed) == lines {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the writing process ended with %v", err)
	}
	return printed
}

// TestKilledWriter is the process that TestKill kills; alone it does nothing.
func TestKilledWriter(t *testing.T) {
	dir := os.Getenv(killEnv)
	if dir == "" {
		t.Skip("it is started by TestKill")
	}
	db, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for {
				e, _ := db.Snapshot().Get(keyN(i))
				e, err := db.Apply(ctx, Op{Key: keyN(i), Value: []byte(strings.Repeat("v", i*100)), Expect: e.ModRev})
				if err != nil {
					t.Errorf("Apply: %v", err)
					return
				}
				fmt.Println(e.Key, e.ModRev)
			}
		})
	}
	for {
		if err := db.Compact(ctx, db.Snapshot().Revision()-20); err != nil {
			t.Errorf("Compact: %v", err)
			return
		}
	}
}
