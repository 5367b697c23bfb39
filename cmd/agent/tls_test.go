package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/agent/wire"
)

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	issued := a.issue(template)
	a.key = issued.PrivateKey.(*ecdsa.PrivateKey)
	a.cert = issued.Leaf
	return a
}

// issue signs a certificate; an authority without a certificate signs its own.
func (a *authority) issue(template *x509.Certificate) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) server() tls.Certificate {
	return a.issue(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
}

func (a *authority) client() tls.Certificate {
	return a.issue(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

// write writes a certificate and its key into files.
func write(t *testing.T, certificate tls.Certificate) (cert, key string) {
	t.Helper()
	cert, key = filepath.Join(t.TempDir(), "cert"), filepath.Join(t.TempDir(), "key")
	der, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	err = errors.Join(err,
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// freeAddress returns an address on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func TestTLS(t *testing.T) {
	ours, other := newAuthority(t), newAuthority(t)
	cert, key := write(t, ours.server())
	clientCA, _ := write(t, tls.Certificate{Certificate: [][]byte{ours.cert.Raw}, PrivateKey: ours.key})
	address := freeAddress(t)
	s := startServing(t, nil, "--listen-tls", address, "--tls-cert", cert, "--tls-key", key, "--client-ca", clientCA)
	if _, err := s.Health(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, s.log)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ours.cert)
	for _, test := range []struct {
		name         string
		certificates []tls.Certificate
		err          error
	}{
		{"our client", []tls.Certificate{ours.client()}, nil},
		{"no certificate", nil, client.ErrUnreachable},
		{"a client of somebody else", []tls.Certificate{other.client()}, client.ErrUnreachable},
		{"a server as a client", []tls.Certificate{ours.server()}, client.ErrUnreachable},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := client.NewTLS(address, &tls.Config{RootCAs: roots, Certificates: test.certificates})
			defer c.Close()
			_, err := c.Health(t.Context())
			if !errors.Is(err, test.err) {
				t.Fatalf("Health: %v, want %v", err, test.err)
			}
			if test.err != nil {
				return
			}
			if result, err := c.Run(t.Context(), scriptOf("echo x"), nil); err != nil || result.State != wire.Succeeded {
				t.Errorf("Run: %+v, %v", result, err)
			}
		})
	}
}

// TestPortTaken shows that the last words of an agent whose port another
// container of the pod has say what to do: the pool's conditions quote them.
func TestPortTaken(t *testing.T) {
	ours := newAuthority(t)
	cert, key := write(t, ours.server())
	clientCA, _ := write(t, tls.Certificate{Certificate: [][]byte{ours.cert.Raw}, PrivateKey: ours.key})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	out, err := self(t, "serve", "--listen-tls", taken.Addr().String(), "--tls-cert", cert, "--tls-key", key, "--client-ca", clientCA).CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		t.Fatalf("the agent ended with %v, want an exit code", err)
	}
	for _, word := range []string{taken.Addr().String(), "address already in use", "another container", "--agent-port"} {
		if !strings.Contains(string(out), word) {
			t.Errorf("no %q in %s", word, out)
		}
	}
}
