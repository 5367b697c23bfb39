package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/utils/clock"
)

const (
	// replaceBefore is how long before its end an authority gets a successor. It
	// is far more than what a certificate lives, so that no certificate ends with
	// its authority.
	replaceBefore = 2 * leafLifetime
	// ripeAfter is how old an authority is before it signs what others verify
	// with a bundle that they were given: by then they have the new bundle.
	ripeAfter = 24 * time.Hour
)

// Ring is an authority that never expires: a row of authorities, each in a
// numbered folder of one directory, of which a new one is made long before the
// last expires. Whoever trusts Bundle trusts all that are still valid. It is safe
// for concurrent use.
type Ring struct {
	dir   string
	clock clock.PassiveClock

	mu sync.Mutex
	// authorities are those still valid, the newest first.
	authorities []*Authority
}

// OpenRing loads the authorities from dir, or makes the first one there.
func OpenRing(dir string, clk clock.PassiveClock) (*Ring, error) {
	r := &Ring{dir: dir, clock: clk}
	return r, r.Refresh()
}

// Refresh makes a new authority if the newest nears its end, and forgets those that have expired. It
// is called once in a while. An authority whose files cannot be read holds up no other: it stays what
// it was when it was last read, and the error says so.
func (r *Ring) Refresh() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	numbers, err := r.numbers()
	if err != nil {
		return err
	}
	var errs []error
	var valid []*Authority
	for _, number := range numbers {
		a, err := r.read(number)
		if err != nil && !errors.Is(err, ErrExpired) {
			errs = append(errs, err)
		}
		if a != nil {
			valid = append(valid, a)
		}
	}
	if len(valid) == 0 && len(errs) > 0 {
		return errors.Join(errs...) // a new authority would hide that there was one
	}
	if len(valid) == 0 || r.clock.Now().Add(replaceBefore).After(valid[0].cert.NotAfter) {
		next := 1
		if len(numbers) > 0 {
			next = numbers[0] + 1
		}
		if a, err := Ensure(r.folder(next), r.clock); err != nil {
			errs = append(errs, err)
		} else {
			valid = slices.Insert(valid, 0, a)
		}
	}
	if len(valid) == 0 {
		return errors.Join(errs...)
	}
	r.authorities = valid
	return errors.Join(append(errs, r.writeBundle())...)
}

// read returns an authority as its files have it, or, with the error, as they had it when they could
// last be read. It returns nil for one that has expired.
func (r *Ring) read(number int) (*Authority, error) {
	dir := r.folder(number)
	a, err := Ensure(dir, r.clock)
	if err == nil {
		return a, nil
	}
	known := slices.IndexFunc(r.authorities, func(a *Authority) bool { return a.dir == dir })
	if known < 0 || r.clock.Now().After(r.authorities[known].cert.NotAfter) {
		return nil, err
	}
	return r.authorities[known], err
}

func (r *Ring) folder(number int) string { return filepath.Join(r.dir, strconv.Itoa(number)) }

// numbers returns the names of the authorities' folders, the greatest first.
func (r *Ring) numbers() ([]int, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list certificate authorities: %w", err)
	}
	var numbers []int
	for _, entry := range entries {
		if number, err := strconv.Atoi(entry.Name()); err == nil && number > 0 && entry.IsDir() {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	slices.Reverse(numbers)
	return numbers, nil
}

// BundleFile is the path of a file with the certificates of all valid
// authorities, PEM, the newest first. It is replaced as a whole.
func (r *Ring) BundleFile() string { return filepath.Join(r.dir, "ca-bundle.crt") }

// Bundle returns the content of BundleFile.
func (r *Ring) Bundle() ([]byte, error) {
	bundle, err := os.ReadFile(r.BundleFile())
	if err != nil {
		return nil, fmt.Errorf("read certificate authorities: %w", err)
	}
	return bundle, nil
}

func (r *Ring) writeBundle() error {
	var all []*x509.Certificate
	for _, a := range r.authorities {
		all = append(all, a.cert)
	}
	bundle, err := cert.EncodeCertificates(all...)
	if err != nil {
		return fmt.Errorf("encode certificate authorities: %w", err)
	}
	return ReplaceFile(r.BundleFile(), bundle)
}

// Serving returns a serving certificate for the hosts by the newest authority
// that all who have the bundle know by now. The files of a name stay the same.
func (r *Ring) Serving(name string, hosts []string) (Pair, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ripe().serving(pairIn(r.dir, name), hosts)
}

// ripe returns the newest authority that is old enough, else the oldest.
func (r *Ring) ripe() *Authority {
	for _, a := range r.authorities {
		if age := r.clock.Now().Sub(a.cert.NotBefore) - backdate; age >= ripeAfter {
			return a
		}
	}
	return r.authorities[len(r.authorities)-1]
}

// Clients returns client certificates for a user with groups, one by each authority, the newest
// first. If some cannot be renewed, returns the others, and an error that says which.
func (r *Ring) Clients(name, user string, groups []string) ([]Pair, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var pairs []Pair
	var errs []error
	for _, a := range r.authorities {
		pair, err := a.Client(name, user, groups)
		if err != nil {
			errs = append(errs, fmt.Errorf("client certificate in %s: %w", a.dir, err))
			continue
		}
		pairs = append(pairs, pair)
	}
	return pairs, errors.Join(errs...)
}
