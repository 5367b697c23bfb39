package cluster

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// pki makes the keys and certificates of a cluster. They are made anew for each
// and live for a day.
type pki struct {
	dir        string
	ca         *authority // of the cluster: servers, the kubelet and users
	frontProxy *authority // of those who may speak for a user, which is the API server
}

// authority is a certificate authority of its own.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
	file string
}

// subject is what a certificate is made out for.
type subject struct {
	user   string
	groups []string
	hosts  []string // names and addresses, for servers
}

const (
	validity = 24 * time.Hour
	// skew is how far the clocks of a test and its cluster may be apart.
	skew = 5 * time.Minute
)

func (c *Cluster) makeCertificates(context.Context) error {
	p := &pki{dir: filepath.Join(c.run, "pki")}
	err := os.MkdirAll(p.dir, 0o700)
	if err == nil {
		p.ca, err = newAuthority(p.dir, "ca")
	}
	if err == nil {
		p.frontProxy, err = newAuthority(p.dir, "front-proxy-ca")
	}
	if err != nil {
		return err
	}
	c.pki = p
	service := []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "127.0.0.1", NodeIP, serviceIP}
	for name, s := range map[string]subject{
		"apiserver": {user: "kube-apiserver", hosts: service},
		"kubelet":   {user: "system:node:" + NodeName, groups: []string{"system:nodes"}, hosts: []string{NodeName, NodeIP}},
		// kube-apiserver as a client of the kubelet.
		"apiserver-kubelet": {user: "kube-apiserver-kubelet-client", groups: []string{"system:masters"}},
	} {
		if err := p.ca.issue(filepath.Join(p.dir, name), s); err != nil {
			return fmt.Errorf("issue %s: %w", name, err)
		}
	}
	// kube-apiserver as the proxy in front of other API servers.
	if err := p.frontProxy.issue(p.path("front-proxy"), subject{user: "front-proxy"}); err != nil {
		return fmt.Errorf("issue front-proxy: %w", err)
	}
	return newServiceAccountKey(p.path("sa"))
}

func (p *pki) path(name string) string { return filepath.Join(p.dir, name) }

func newAuthority(dir, name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of %s: %w", name, err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-skew), NotAfter: time.Now().Add(validity),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	a := &authority{cert: cert, key: key, pem: encode("CERTIFICATE", der), file: filepath.Join(dir, name+".crt")}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return a, errors.Join(os.WriteFile(a.file, a.pem, 0o600), os.WriteFile(filepath.Join(dir, name+".key"), keyPEM, 0o600))
}

// issue writes base.crt and base.key, good for clients and for servers.
func (a *authority) issue(base string, s subject) error {
	cert, key, err := a.sign(s)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(base+".crt", cert, 0o600), os.WriteFile(base+".key", key, 0o600))
}

func (a *authority) sign(s subject) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, fmt.Errorf("make a serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: s.user, Organization: s.groups},
		NotBefore: time.Now().Add(-skew), NotAfter: time.Now().Add(validity),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, host := range s.hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign a certificate: %w", err)
	}
	keyPEM, err = encodeKey(key)
	return encode("CERTIFICATE", der), keyPEM, err
}

// newServiceAccountKey writes base.key and base.pub, which sign and check the
// tokens of service accounts.
func newServiceAccountKey(base string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the key of service accounts: %w", err)
	}
	private, err := encodeKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("encode the key of service accounts: %w", err)
	}
	return errors.Join(os.WriteFile(base+".key", private, 0o600),
		os.WriteFile(base+".pub", encode("PUBLIC KEY", public), 0o600))
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return encode("EC PRIVATE KEY", der), nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
