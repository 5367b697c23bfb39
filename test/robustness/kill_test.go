//go:build linux

package robustness

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestKill kills children under load with SIGKILL, at random moments: while
// they open or create the database, after some acknowledgements, in the midst of
// compactions, with many or few writers and with small or large values.
func TestKill(t *testing.T) {
	for _, layer := range []string{overKV, overBolt} {
		t.Run(layer, func(t *testing.T) {
			t.Parallel()
			counts := tally{}
			defer counts.log(t)
			dir, l := t.TempDir(), newLedger(layer)
			for round := range *rounds {
				rnd := random(t, round)
				if rnd.IntN(10) == 0 { // a new database: its creation may be killed, too
					dir, l = t.TempDir(), newLedger(layer)
				}
				o := order{
					Dir: dir, Layer: layer, Seed: rnd.Uint64(), Name: fmt.Sprint("r", round),
					Writers: []int{1, 4, 16, 64}[rnd.IntN(4)], MaxValue: []int{20, 300, 4000}[rnd.IntN(3)],
				}
				before := l.acknowledged
				out, err := execute(o, l, killer(t, rnd.IntN(3) == 0, rnd.IntN(400), time.Duration(rnd.IntN(30_000))*time.Microsecond), nil)
				if err == nil {
					err = out.orderly()
				}
				if err == nil && !out.killed {
					err = fmt.Errorf("the child ended with %d before it was killed: %s", out.code, out.said)
				}
				if err == nil {
					err = l.check(dir)
				}
				if err != nil {
					t.Fatalf("seed %d, round %d, %+v: %v", *seed, round, o, err)
				}
				counts["rounds"]++
				counts["acknowledged"] += l.acknowledged - before
				if l.acknowledged == before {
					counts["killed before the first acknowledgement"]++
				}
			}
		})
	}
}

// killer kills a child a while after it began to open the database, or after
// so many acknowledgements.
func killer(t *testing.T, early bool, acks int, after time.Duration) func(*run, string) {
	kill := func(r *run) {
		if err := r.kill(); err != nil {
			t.Errorf("kill: %v", err)
		}
	}
	return func(r *run, line string) {
		switch {
		case early && line == "opening":
			time.AfterFunc(after, func() { kill(r) })
		case !early && strings.HasPrefix(line, "ack "):
			if acks--; acks == 0 {
				kill(r)
			}
		case !early && line == "open" && acks == 0:
			kill(r)
		}
	}
}
