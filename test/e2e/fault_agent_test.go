package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// agentPort is where agents listen; agentDir is where a step finds what its agent has.
const (
	agentPort = "7317"
	agentDir  = "/.arl/"
)

// TestForeignClients has others than the server speak to the agent of a
// sandbox: somebody in the cluster's network, another pod with all that a step
// finds there, and the sandbox's own pod. No network policy is in their way.
func TestForeignClients(t *testing.T) {
	n := newTenant(t)
	n.FillPool(probePool(t, "pool", 2))
	victim, thief := n.ReadySandbox("victim", "pool"), n.ReadySandbox("thief", "pool")
	address := net.JoinHostPort(victim.Status.PodIP, agentPort)

	t.Run("without TLS", func(t *testing.T) {
		if body, err := fetch("http://" + address + "/v1/health"); err == nil {
			t.Errorf("the agent answered %q", body)
		} else {
			t.Log(err)
		}
	})
	for name, certificates := range map[string][]tls.Certificate{
		"without a certificate":           nil,
		"with one of another's authority": {foreignCertificate(t)},
	} {
		t.Run(name, func(t *testing.T) {
			err := callAgent(t.Context(), address, certificates)
			if err == nil {
				t.Fatal("the agent serves")
			}
			wantWords(t, err.Error(), "remote error: tls")
			t.Log(err)
		})
	}
	stolen := []string{agentDir + wire.CertFile, agentDir + wire.KeyFile}
	for task, call := range map[string]struct {
		name    string
		from    string
		address string
		keys    []string
	}{
		"nothing": {"from another pod, with nothing", "thief", address, nil},
		"keys":    {"from another pod, with its keys", "thief", address, stolen},
		"own":     {"from the pod itself, with its own", "victim", "127.0.0.1:" + agentPort, stolen},
	} {
		t.Run(call.name, func(t *testing.T) {
			args := append([]string{probeProgram, "call", call.address}, call.keys...)
			task := n.in(t).Perform(taskIn(call.from, task, command("calls", args...)))
			if task.Status.State != v1alpha1.TaskFailed || task.Status.Stdout != "" {
				t.Errorf("the agent answered %q: %s", task.Status.Stdout, outline(task))
			}
			wantWords(t, task.Status.Stderr, "remote error: tls")
			t.Log(task.Status.Stderr)
		})
	}
	// The agents are there for the server all the while.
	for _, sandbox := range []*v1alpha1.Sandbox{victim, thief} {
		wantSucceeded(t, n.Perform(taskIn(sandbox.Name, "after-"+sandbox.Name, command("says", probeProgram, "say", "here"))))
	}
}

// callAgent makes a connection to an agent, as the server does, and waits for
// the first words of the agent, which come before any request.
func callAgent(ctx context.Context, address string, certificates []tls.Certificate) error {
	plain, err := shared.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	conn := tls.Client(plain, &tls.Config{
		InsecureSkipVerify: true, // who answers does not matter: nobody is to answer
		NextProtos:         []string{"h2"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			// Whatever the agent says that it accepts.
			if len(certificates) == 0 {
				return &tls.Certificate{}, nil
			}
			return &certificates[0], nil
		},
	})
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

// foreignCertificate is a client's, by an authority that is its own.
func foreignCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "arl-apiserver"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
