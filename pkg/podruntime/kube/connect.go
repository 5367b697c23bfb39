package kube

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"

	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/kube/phase"
)

// directTimeout bounds an attempt to reach a pod by its address if there is
// another way.
const directTimeout = 2 * time.Second

// listenTimeout is far above what a container's first process takes to listen.
// Whoever refuses connections after that is not the agent but a network policy.
const listenTimeout = 10 * time.Second

// errForeign is a handshake with somebody else than the agent that is meant.
var errForeign = errors.New("whoever answers at the pod's address is not the pod's agent: it has another key")

// connect returns a client of the agent of a pod. No connection is made yet.
func (r *Runtime) connect(key podruntime.Key, status phase.State) *client.Client {
	transport := client.TLSTransport(r.tlsConfig(status.Key))
	port := cmp.Or(status.Port, r.config.Port)
	transport.DialContext = func(ctx context.Context, _, address string) (net.Conn, error) {
		return r.dial(ctx, key, address, port)
	}
	address := net.JoinHostPort(status.IP, strconv.Itoa(int(port)))
	return client.New(client.Config{Transport: transport, BaseURL: "https://" + address, Decodes: r.decodes})
}

// tlsConfig returns what is wanted of an agent, and what it is shown.
func (r *Runtime) tlsConfig(publicKey []byte) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		// Neither names nor dates nor signatures matter: VerifyConnection wants
		// the one key that the kubelet has told of.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return errForeign
			}
			sum := sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo)
			if !bytes.Equal(sum[:], publicKey) {
				return errForeign
			}
			return nil
		},
		GetClientCertificate: r.clientCertificate,
	}
}

// clientCertificate returns the first of the server's certificates that an
// agent accepts.
func (r *Runtime) clientCertificate(wanted *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	credentials, err := r.config.Credentials()
	if err != nil {
		return nil, fmt.Errorf("the server's certificate: %w", err)
	}
	var errs []error
	for i := range credentials.Certificates {
		err := wanted.SupportsCertificate(&credentials.Certificates[i])
		if err == nil {
			return &credentials.Certificates[i], nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("the agent accepts no certificate of this server, its pod was made by another: %w", errors.Join(errs...))
}

// dial makes a connection to the agent of a pod.
func (r *Runtime) dial(ctx context.Context, key podruntime.Key, address string, port int32) (net.Conn, error) {
	switch {
	case r.config.Reach == Direct:
		return r.config.direct(ctx, address)
	case r.config.Reach == Tunnel, r.tunnelled.Load() && !r.routed.Load():
		return r.config.Tunneler.Dial(ctx, key.Namespace, key.Name, port)
	}
	direct, cancel := context.WithTimeout(ctx, directTimeout)
	defer cancel()
	conn, err := r.config.direct(direct, address)
	if err == nil {
		r.routed.Store(true)
		return conn, nil
	}
	// An agent that does not listen yet refuses, too.
	early := errors.Is(err, syscall.ECONNREFUSED) && !r.shouldListen(key)
	if r.routed.Load() || early || ctx.Err() != nil {
		return nil, err
	}
	conn, tunnelErr := r.config.Tunneler.Dial(ctx, key.Namespace, key.Name, port)
	if tunnelErr != nil {
		return nil, errors.Join(err, tunnelErr)
	}
	r.tunnelled.Store(true)
	return conn, nil
}

// shouldListen says that a pod's container has run for so long that its agent listens.
func (r *Runtime) shouldListen(key podruntime.Key) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pods[key]
	return p != nil && !p.runsSince.IsZero() && r.config.Clock.Since(p.runsSince) >= listenTimeout
}

func dialDirect(ctx context.Context, address string) (net.Conn, error) {
	var dialer net.Dialer
	return dialer.DialContext(ctx, "tcp", address)
}
