package pki

import (
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/util/cert"
	testingclock "k8s.io/utils/clock/testing"
)

func ensure(t *testing.T, dir string, now time.Time) *Authority {
	t.Helper()
	a, err := Ensure(dir, testingclock.NewFakePassiveClock(now))
	if err != nil {
		t.Fatalf("Ensure: %v", err)
	}
	return a
}

func read(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	certs, err := cert.CertsFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return certs[0]
}

func TestServingCertificateVerifies(t *testing.T) {
	now := time.Now()
	a := ensure(t, t.TempDir(), now)
	pair, err := a.Serving("serving", []string{"localhost", "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(read(t, a.CAFile()))
	for _, host := range []string{"localhost", "127.0.0.1"} {
		options := x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: now}
		if _, err := read(t, pair.CertFile).Verify(options); err != nil {
			t.Errorf("verify for %s: %v", host, err)
		}
	}
}

func TestCertificatesSurviveRestart(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	tests := []struct {
		name  string
		later time.Duration
		hosts []string
		same  bool
	}{
		{name: "same hosts", later: time.Hour, hosts: []string{"127.0.0.1"}, same: true},
		{name: "another host", later: time.Hour, hosts: []string{"127.0.0.1", "example.test"}},
		{name: "about to expire", later: leafLifetime - renewBefore + time.Hour, hosts: []string{"127.0.0.1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(dir, tt.name)
			first, err := ensure(t, dir, now).Serving("serving", []string{"127.0.0.1"})
			if err != nil {
				t.Fatal(err)
			}
			ca, before := read(t, filepath.Join(dir, "ca.crt")), read(t, first.CertFile)
			again, err := ensure(t, dir, now.Add(tt.later)).Serving("serving", tt.hosts)
			if err != nil {
				t.Fatal(err)
			}
			if !read(t, filepath.Join(dir, "ca.crt")).Equal(ca) {
				t.Error("the authority was replaced")
			}
			if same := read(t, again.CertFile).Equal(before); same != tt.same {
				t.Errorf("certificate kept: %v, want %v", same, tt.same)
			}
		})
	}
}

func TestExpiredAuthorityIsRefused(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	ensure(t, dir, now)
	_, err := Ensure(dir, testingclock.NewFakePassiveClock(now.Add(caLifetime+time.Hour)))
	if !errors.Is(err, ErrExpired) {
		t.Errorf("got %v, want ErrExpired", err)
	}
}

func TestHalfWrittenPairIsMadeAnew(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	a := ensure(t, dir, now)
	one, err := a.Client("one", "one", nil)
	if err != nil {
		t.Fatal(err)
	}
	two, err := a.Client("two", "two", []string{"group"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(two.KeyFile, one.KeyFile); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Client("one", "one", nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := load(one); err != nil {
		t.Errorf("the pair was not repaired: %v", err)
	}
}

func TestKeysAreReadableByTheirOwnerAlone(t *testing.T) {
	dir := t.TempDir()
	pair, err := ensure(t, dir, time.Now()).Client("admin", "admin", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{pair.KeyFile, filepath.Join(dir, "ca.key")} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s has mode %o, want 600", file, mode)
		}
	}
}

func TestReplaceFileKeepsWhatIsRight(t *testing.T) {
	for _, tt := range []struct {
		name, content string
		mode          os.FileMode
		kept          bool
	}{
		{name: "the same", content: "right", mode: 0o600, kept: true},
		{name: "other content", content: "wrong", mode: 0o600},
		{name: "readable by others", content: "right", mode: 0o644},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(path, []byte(tt.content), tt.mode); err != nil {
				t.Fatal(err)
			}
			before, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := ReplaceFile(path, []byte("right")); err != nil {
				t.Fatal(err)
			}
			after, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			content, err := os.ReadFile(path)
			if err != nil || string(content) != "right" || after.Mode() != 0o600 {
				t.Errorf("the file holds %q with mode %v: %v", content, after.Mode(), err)
			}
			if kept := os.SameFile(before, after); kept != tt.kept {
				t.Errorf("file kept: %v, want %v", kept, tt.kept)
			}
		})
	}
}

// TestClockSetBack starts a server anew after its clock was set back by an
// hour: certificates stay and are valid; beyond what they were backdated by,
// the error says what is wrong.
func TestClockSetBack(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	first, err := ensure(t, dir, now).Serving("serving", []string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	before := read(t, first.CertFile)
	earlier := now.Add(-time.Hour)
	again, err := ensure(t, dir, earlier).Serving("serving", []string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	after := read(t, again.CertFile)
	if !before.Equal(after) {
		t.Error("the serving certificate was made anew")
	}
	roots := x509.NewCertPool()
	roots.AddCert(read(t, ensure(t, dir, earlier).CAFile()))
	if _, err := after.Verify(x509.VerifyOptions{Roots: roots, DNSName: "localhost", CurrentTime: earlier}); err != nil {
		t.Errorf("an hour earlier clients refuse it: %v", err)
	}
	_, err = Ensure(dir, testingclock.NewFakePassiveClock(now.Add(-2*backdate)))
	if err == nil || !strings.Contains(err.Error(), "set the clock") {
		t.Errorf("two days earlier: %v, want an error that says to set the clock", err)
	}
}
