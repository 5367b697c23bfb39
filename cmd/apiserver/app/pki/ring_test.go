package pki

import (
	"bytes"
	"crypto/x509"
	"os"
	"testing"
	"time"

	testclock "k8s.io/utils/clock/testing"
)

// verifies says whether a serving certificate holds for who trusts a bundle.
func verifies(t *testing.T, pair Pair, bundle []byte, now time.Time) bool {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		t.Fatal("the bundle holds no certificate")
	}
	_, err := read(t, pair.CertFile).Verify(x509.VerifyOptions{DNSName: "host", Roots: roots, CurrentTime: now})
	return err == nil
}

// TestRingLivesOn has somebody who fetches the bundle an hour late trust what
// is served at any time of thirty years.
func TestRingLivesOn(t *testing.T) {
	clk := testclock.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	dir := t.TempDir()
	ring, err := OpenRing(dir, clk)
	if err != nil {
		t.Fatal(err)
	}
	late, err := ring.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 30 * 365 / 3 {
		clk.Step(71 * time.Hour)
		if err := ring.Refresh(); err != nil {
			t.Fatal(err)
		}
		pair, err := ring.Serving("serving", []string{"host"})
		if err != nil {
			t.Fatal(err)
		}
		if !verifies(t, pair, late, clk.Now()) {
			t.Fatalf("on %s the certificate by %s is not trusted by who has the bundle of before", clk.Now(), read(t, pair.CertFile).Issuer)
		}
		seen[read(t, pair.CertFile).Issuer.CommonName] = true
		clk.Step(time.Hour)
		if late, err = ring.Bundle(); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) < 3 {
		t.Errorf("in thirty years %d authorities have signed", len(seen))
	}
	if n := bytes.Count(late, []byte("BEGIN")); n > 2 {
		t.Errorf("the bundle has %d certificates", n)
	}
}

// TestRingClients wants one certificate by each authority, so that who trusts
// an old one alone still accepts one.
func TestRingClients(t *testing.T) {
	clk := testclock.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	dir := t.TempDir()
	ring, err := OpenRing(dir, clk)
	if err != nil {
		t.Fatal(err)
	}
	first, err := ring.Clients("server", "user", []string{"group"})
	if err != nil {
		t.Fatal(err)
	}
	clk.Step(caLifetime - replaceBefore + time.Hour)
	if ring, err = OpenRing(dir, clk); err != nil {
		t.Fatal(err)
	}
	both, err := ring.Clients("server", "user", []string{"group"})
	if err != nil {
		t.Fatal(err)
	}
	if len(first) != 1 || len(both) != 2 || both[1] != first[0] {
		t.Fatalf("at first %v, with two authorities %v", first, both)
	}
	if a, b := read(t, both[0].CertFile), read(t, both[1].CertFile); a.Issuer.CommonName == b.Issuer.CommonName {
		t.Errorf("both are by %s", a.Issuer.CommonName)
	}
}

// TestRingIgnoresStrangers takes numbered folders alone for authorities.
func TestRingIgnoresStrangers(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"lost+found", "0", "-1", "note"} {
		if err := os.Mkdir(dir+"/"+name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/7", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ring, err := OpenRing(dir, testclock.NewFakeClock(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	if pair, err := ring.Serving("serving", []string{"host"}); err != nil || pair.CertFile != dir+"/serving.crt" {
		t.Errorf("got %v, %v", pair, err)
	}
}
