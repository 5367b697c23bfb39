//go:build linux

package robustness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"arl.io/arl/test/robustness/fault"
)

// needSupervision skips a test where the kernel lets no process look at the
// calls of another.
func needSupervision(t *testing.T) (calls int) {
	t.Helper()
	out, err := execute(scriptIn(t.TempDir()), newLedger(overKV), nil, &supervision{decide: pass})
	if err != nil || out.code != exitDone {
		t.Skipf("calls cannot be caught here (it needs Linux 5.19 or newer and seccomp): %v, exit code %d", err, out.code)
	}
	return out.calls
}

func pass(fault.Call) fault.Verdict { return fault.Verdict{} }

func scriptIn(dir string) order { return order{Dir: dir, Layer: overKV, Name: "s", MaxValue: 100} }

// at returns a decision that gives one call, and maybe all later ones of its
// kind and file, a verdict. It says in hit which call that was.
func at(n int, forever bool, v fault.Verdict, hit *fault.Call) func(fault.Call) fault.Verdict {
	return func(c fault.Call) fault.Verdict {
		if c.N == n {
			*hit = c
		}
		if c.N == n || forever && hit.N != 0 && c.Kind == hit.Kind && c.Path == hit.Path {
			return v
		}
		return fault.Verdict{}
	}
}

// eachCall injects a fault at every call of the script in turn, each time in a new
// directory, and has the database checked, used and checked again.
func eachCall(t *testing.T, inject func(n int, rnd *rand.Rand, hit *fault.Call) (s *supervision, after func(outcome) error)) {
	t.Helper()
	calls := needSupervision(t)
	counts := tally{}
	defer counts.log(t)
	counts["calls of the script"] = calls
	first := 1 + random(t, 0).IntN(*stride)
	for n := first; n <= calls; n += *stride {
		dir, l := t.TempDir(), newLedger(overKV)
		var hit fault.Call
		s, after := inject(n, random(t, n), &hit)
		out, err := execute(scriptIn(dir), l, nil, s)
		if err == nil {
			err = out.orderly()
		}
		if err == nil && after != nil {
			err = after(out)
		}
		if err == nil {
			err = l.check(dir)
		}
		counts["rounds"]++
		counts["acknowledged"] += l.acknowledged
		counts[out.kind()]++
		counts[string(hit.Kind)]++
		if err == nil {
			err = goesOn(dir, l)
		}
		if err != nil {
			t.Fatalf("seed %d, %v: child %s, %s: %v", *seed, hit, out.kind(), out.said, err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// goesOn lets another child go through the script, undisturbed.
func goesOn(dir string, l *ledger) error {
	o := scriptIn(dir)
	o.Name = "t"
	out, err := execute(o, l, nil, nil)
	if err == nil && out.code != exitDone {
		err = fmt.Errorf("exit code %d: %s", out.code, out.said)
	}
	return errors.Join(err, l.check(dir))
}

// TestKillAtEachCall kills the process right before each of its writes,
// syncs, resizes, maps, renames and creations, or within a write.
func TestKillAtEachCall(t *testing.T) {
	t.Parallel()
	eachCall(t, func(n int, rnd *rand.Rand, hit *fault.Call) (*supervision, func(outcome) error) {
		v := fault.Verdict{Kill: true}
		if rnd.IntN(2) == 0 {
			v.Tear = rnd.Int64N(32 << 10)
		}
		return &supervision{decide: at(n, false, v, hit)}, nil
	})
}

// TestPowerCutAtEachCall has the power go at each call: of what was not synced by
// then, any sectors may be on the disk.
func TestPowerCutAtEachCall(t *testing.T) {
	t.Parallel()
	eachCall(t, func(n int, rnd *rand.Rand, hit *fault.Call) (*supervision, func(outcome) error) {
		disk := fault.NewDisk()
		return &supervision{disk: disk, decide: at(n, false, fault.Verdict{Kill: true}, hit)}, func(outcome) error {
			_, err := disk.CutPower(rnd)
			return err
		}
	})
}

// TestPowerCutUnderLoad has the power go while many write at once and the log
// is compacted, again and again on one database.
func TestPowerCutUnderLoad(t *testing.T) {
	t.Parallel()
	needSupervision(t)
	counts := tally{}
	defer counts.log(t)
	dir, l := t.TempDir(), newLedger(overKV)
	for round := range *rounds {
		rnd := random(t, round)
		o := order{
			Dir: dir, Layer: overKV, Seed: rnd.Uint64(), Name: fmt.Sprint("r", round),
			Writers: []int{2, 16, 64}[rnd.IntN(3)], MaxValue: []int{20, 2000}[rnd.IntN(2)],
		}
		disk := fault.NewDisk()
		var hit fault.Call
		out, err := execute(o, l, nil, &supervision{disk: disk, decide: at(1+rnd.IntN(300), false, fault.Verdict{Kill: true}, &hit)})
		if err == nil && !out.killed {
			err = fmt.Errorf("the child ended with %d before it was killed: %s", out.code, out.said)
		}
		if err == nil {
			var forgotten int
			forgotten, err = disk.CutPower(rnd)
			counts["bytes forgotten"] += forgotten
		}
		if err == nil {
			err = l.check(dir)
		}
		if err != nil {
			t.Fatalf("seed %d, round %d, %+v, %v: %v", *seed, round, o, hit, err)
		}
		counts["rounds"]++
	}
	counts["acknowledged"] = l.acknowledged
}

// TestEachCallFails makes each call fail, with the errors that the kernel has
// for it, once or from then on. The database stops, refuses the write, or is not
// opened; it never goes on as if nothing had been.
func TestEachCallFails(t *testing.T) {
	errnos := []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.ENOMEM, syscall.EDQUOT, syscall.EFBIG, syscall.EROFS}
	for _, forever := range []bool{false, true} {
		name := map[bool]string{false: "once", true: "from then on"}[forever]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachCall(t, func(n int, rnd *rand.Rand, hit *fault.Call) (*supervision, func(outcome) error) {
				v := fault.Verdict{Errno: errnos[rnd.IntN(len(errnos))]}
				return &supervision{decide: at(n, forever, v, hit)}, func(out outcome) error {
					if out.code == exitDone && !excused(*hit, v.Errno) {
						return fmt.Errorf("the child went on as if nothing had been, after: %w", v.Errno)
					}
					return nil
				}
			})
		})
	}
}

// excused reports whether a process may go on after an error. What was asked for
// ahead of a write can be refused with the write, and so can what a full disk has no room for.
func excused(c fault.Call, errno syscall.Errno) bool {
	return c.N == 0 || c.Kind == fault.Allocate ||
		c.Kind == fault.Sync && (errno == syscall.ENOSPC || errno == syscall.EDQUOT || errno == syscall.EFBIG)
}

// TestMapFailsWhenGrowing has a file outgrow what it is mapped to, and the
// kernel refuse to map more.
func TestMapFailsWhenGrowing(t *testing.T) {
	needSupervision(t)
	const megabytes = 300 // more than is mapped at the start
	dir := filepath.Join(smallDisk(t, 2*megabytes<<20), "data")
	maps := 0
	s := &supervision{decide: func(c fault.Call) (v fault.Verdict) {
		if c.Kind == fault.Map && filepath.Base(c.Path) == "log.db" {
			if maps++; maps == 2 {
				v.Errno = syscall.ENOMEM
			}
		}
		return v
	}}
	l := newLedger(overKV)
	o := scriptIn(dir)
	o.Grow = megabytes
	out, err := execute(o, l, nil, s)
	if err == nil {
		err = out.orderly()
	}
	if err == nil && (maps < 2 || out.code != exitFailed) {
		err = fmt.Errorf("the child mapped the log %d times and exited with %d: %s", maps, out.code, out.said)
	}
	if err := errors.Join(err, l.check(dir)); err != nil {
		t.Fatal(err)
	}
	if l.acknowledged < 50 {
		t.Errorf("only %d writes were acknowledged", l.acknowledged)
	}
}
