package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/agent/wire"
)

// TestPrepare has a second agent serve with what the first has prepared, and a
// client that knows the reported key alone reach it.
func TestPrepare(t *testing.T) {
	ours := newAuthority(t)
	dir, report := t.TempDir(), filepath.Join(t.TempDir(), "report")
	authorities := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ours.cert.Raw})
	// Init containers may be run again.
	for range 2 {
		prepared := self(t, "prepare", "--report", report, dir)
		prepared.Env = append(prepared.Env, wire.ClientCAVariable+"="+string(authorities))
		if out, err := prepared.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	told, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var identity wire.Identity
	if err := json.Unmarshal(told, &identity); err != nil {
		t.Fatalf("%v: %s", err, told)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	for name, mode := range map[string]os.FileMode{
		wire.AgentFile: 0o755, wire.CertFile: 0o444, wire.KeyFile: 0o444, wire.ClientCAFile: 0o444,
	} {
		if info, err := os.Stat(in(name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v; want mode %v", name, info, err, mode)
		}
	}

	address := freeAddress(t)
	s := startServing(t, nil, "--listen-tls", address, "--tls-cert", in(wire.CertFile), "--tls-key", in(wire.KeyFile), "--client-ca", in(wire.ClientCAFile))
	if _, err := s.Health(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, s.log)
	}
	c := client.NewTLS(address, &tls.Config{
		Certificates:       []tls.Certificate{ours.client()},
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if sum := sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo); !bytes.Equal(sum[:], identity.PublicKeySHA256) {
				return errors.New("another key")
			}
			return nil
		},
	})
	defer c.Close()
	if _, err := c.Health(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPrepareWithoutAuthorities(t *testing.T) {
	out, err := self(t, "prepare", "--report", filepath.Join(t.TempDir(), "report"), t.TempDir()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), wire.ClientCAVariable) {
		t.Errorf("got %v: %s", err, out)
	}
}
