//go:build linux

package robustness

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"arl.io/arl/pkg/storage/kv"
)

// damages change the content of a file.
var damages = []struct {
	name string
	do   func(b []byte, at int, rnd *rand.Rand) []byte
}{
	{"a flipped bit", func(b []byte, at int, rnd *rand.Rand) []byte {
		b[at] ^= 1 << rnd.IntN(8)
		return b
	}},
	{"flipped bytes", func(b []byte, at int, rnd *rand.Rand) []byte {
		for i := range min(1+rnd.IntN(16), len(b)-at) {
			b[at+i] ^= byte(1 + rnd.IntN(255))
		}
		return b
	}},
	{"a sector of zeros", func(b []byte, at int, _ *rand.Rand) []byte {
		at = at / 512 * 512
		clear(b[at:min(at+512, len(b))])
		return b
	}},
	{"a page of zeros", func(b []byte, at int, _ *rand.Rand) []byte {
		at = at / 4096 * 4096
		clear(b[at:min(at+4096, len(b))])
		return b
	}},
	{"a page of noise", func(b []byte, at int, rnd *rand.Rand) []byte {
		at = at / 4096 * 4096
		for i := at; i < min(at+4096, len(b)); i++ {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}},
	{"a page written to another place", func(b []byte, at int, rnd *rand.Rand) []byte {
		from, to := rnd.IntN(len(b))/4096*4096, at/4096*4096
		copy(b[to:min(to+4096, len(b))], bytes.Clone(b[from:min(from+4096, len(b))]))
		return b
	}},
	{"a lost end", func(b []byte, at int, _ *rand.Rand) []byte { return b[:at] }},
}

// TestDamage damages the files of a database that nobody has open. Open
// either refuses it, in words that name the file and the place, or finds all
// that was acknowledged, which it may where nothing is kept.
func TestDamage(t *testing.T) {
	t.Parallel()
	counts := tally{}
	defer counts.log(t)
	l := newLedger(overKV)
	whole := t.TempDir()
	if err := makeHistory(whole, l); err != nil {
		t.Fatal(err)
	}
	for round := range 5 * *rounds {
		rnd := random(t, round)
		name := []string{"log.db", "state.db"}[rnd.IntN(2)]
		damage := damages[rnd.IntN(len(damages))]
		dir := t.TempDir()
		for _, f := range []string{"log.db", "state.db"} {
			b, err := os.ReadFile(filepath.Join(whole, f))
			if err == nil && f == name {
				b = damage.do(b, l.place(b, rnd), rnd)
			}
			if err = errors.Join(err, os.WriteFile(filepath.Join(dir, f), b, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		err := l.copy().check(dir)
		switch {
		case err == nil:
			counts["did not matter"]++
		case errors.Is(err, kv.ErrCorrupt) || errors.Is(err, kv.ErrFormat):
			counts["refused"]++
			err = namesThePlace(err, filepath.Join(dir, name))
		}
		if err != nil {
			t.Errorf("seed %d, round %d, %s in %s: %v", *seed, round, damage.name, name, err)
		}
		counts["rounds"]++
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// place picks a byte to damage: any, or one near a value that is in use.
func (l *ledger) place(b []byte, rnd *rand.Rand) int {
	if rnd.IntN(4) > 0 {
		revs := slices.Sorted(maps.Values(l.newest))
		for range 10 {
			f := l.facts[revs[rnd.IntN(len(revs))]]
			if at := bytes.LastIndex(b, []byte(f.id+"|")); !f.delete && at > 0 {
				return min(max(0, at-200+rnd.IntN(600)), len(b)-1)
			}
		}
	}
	return rnd.IntN(len(b))
}

// makeHistory makes a database with much in both files, and cuts off what
// was allocated ahead, which no damage can hurt.
func makeHistory(dir string, l *ledger) error {
	o := order{Dir: dir, Layer: overKV, Seed: *seed, Name: "h", Writers: 8, MaxValue: 2000}
	_, err := execute(o, l, func(r *run, _ string) {
		if l.acknowledged >= 1000 {
			_ = r.kill() // it may be dead already
		}
	}, nil)
	if err := errors.Join(err, l.check(dir)); err != nil {
		return err
	}
	for _, name := range []string{"log.db", "state.db"} {
		path := filepath.Join(dir, name)
		b, err := os.ReadFile(path)
		if err == nil {
			used := (len(bytes.TrimRight(b, "\x00")) + 64<<10 - 1) / (64 << 10) * (64 << 10)
			err = os.Truncate(path, int64(min(used, len(b))))
		}
		if err != nil {
			return err
		}
	}
	return l.check(dir)
}

// namesThePlace fails unless an error names the file, and where in it the damage is.
func namesThePlace(err error, path string) error {
	message := err.Error()
	if !strings.Contains(message, path) {
		return fmt.Errorf("error %q does not name %s", message, path)
	}
	for _, place := range []string{"page ", "revision", "key ", "header", "truncated", "empty", "bucket", "not a bbolt database"} {
		if strings.Contains(message, place) {
			return nil
		}
	}
	return fmt.Errorf("error %q does not say where the damage is", message)
}
