// Package pki makes the certificates of a server: a certificate authority of its
// own, a serving certificate, and client certificates. They are files in one
// directory; private keys are readable by their owner alone.
//
// It trusts what it finds: a certificate that is still good is left as it is,
// so a restart breaks no client. One that is about to expire, does not cover the names
// asked for, or was signed by another authority is made anew. The authority
// itself is never replaced silently: once it has expired, the error says what
// to delete. A Ring is for those who can tell others of a new authority in time.
package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/utils/clock"
)

const (
	// caLifetime is long because replacing the authority invalidates every kubeconfig.
	caLifetime = 10 * 365 * 24 * time.Hour
	// leafLifetime may be short: every start renews what is about to expire.
	leafLifetime = 365 * 24 * time.Hour
	// renewBefore is how long before its end a certificate counts as expired.
	renewBefore = 30 * 24 * time.Hour
	// backdate lets clients with a slow clock accept a new certificate, and all
	// go on when a clock that was fast is set back.
	backdate = 24 * time.Hour
)

// ErrExpired is returned by Ensure when the authority has expired.
var ErrExpired = errors.New("certificate authority has expired")

// Authority signs certificates. Its methods are not safe for concurrent use on
// the same name.
type Authority struct {
	dir   string
	clock clock.PassiveClock
	cert  *x509.Certificate
	key   crypto.Signer
}

// Pair names the files of a certificate and its key.
type Pair struct {
	CertFile, KeyFile string
}

// Ensure loads the authority from dir, or makes it there. If the authority has
// expired, returns ErrExpired; if it is not valid yet, an error, too.
func Ensure(dir string, clk clock.PassiveClock) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create certificate directory: %w", err)
	}
	a := &Authority{dir: dir, clock: clk}
	pair := a.pair("ca")
	if _, err := os.Stat(pair.CertFile); errors.Is(err, os.ErrNotExist) {
		return a, a.createCA(pair)
	}
	crt, key, err := load(pair)
	if err != nil {
		return nil, fmt.Errorf("load certificate authority: %w", err)
	}
	if clk.Now().After(crt.NotAfter) {
		return nil, fmt.Errorf("%w on %s: delete %s to have a new one made; clients need the new kubeconfig then",
			ErrExpired, crt.NotAfter.Format(time.DateOnly), dir)
	}
	if now := clk.Now(); now.Before(crt.NotBefore) {
		return nil, fmt.Errorf("the certificate authority in %s is valid from %s, and this machine's clock says %s, so no client would trust it: set the clock",
			dir, crt.NotBefore.Format(time.RFC3339), now.Format(time.RFC3339))
	}
	a.cert, a.key = crt, key
	return a, nil
}

// CAFile is the path of the authority's certificate.
func (a *Authority) CAFile() string { return a.pair("ca").CertFile }

// Serving returns a serving certificate for the hosts, which are DNS names or
// IP addresses, under the given file name.
func (a *Authority) Serving(name string, hosts []string) (Pair, error) {
	return a.serving(a.pair(name), hosts)
}

func (a *Authority) serving(pair Pair, hosts []string) (Pair, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "arl-apiserver"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return a.ensureLeaf(pair, template)
}

// Client returns a client certificate for a user with groups, under the given file name.
func (a *Authority) Client(name, user string, groups []string) (Pair, error) {
	return a.ensureLeaf(a.pair(name), &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

func (a *Authority) pair(name string) Pair { return pairIn(a.dir, name) }

func pairIn(dir, name string) Pair {
	return Pair{CertFile: filepath.Join(dir, name+".crt"), KeyFile: filepath.Join(dir, name+".key")}
}

func (a *Authority) createCA(pair Pair) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("create key: %w", err)
	}
	now := a.clock.Now()
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: fmt.Sprintf("arl-ca@%d", now.Unix())},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	a.cert, a.key = template, key
	crt, err := a.sign(template, key.Public())
	if err != nil {
		return err
	}
	a.cert = crt
	return store(pair, crt, key)
}

func (a *Authority) ensureLeaf(pair Pair, template *x509.Certificate) (Pair, error) {
	if crt, _, err := load(pair); err == nil && a.stillGood(crt, template) {
		return pair, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("create key: %w", err)
	}
	now := a.clock.Now()
	template.NotBefore = now.Add(-backdate)
	template.NotAfter = now.Add(leafLifetime)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	crt, err := a.sign(template, key.Public())
	if err != nil {
		return Pair{}, err
	}
	return pair, store(pair, crt, key)
}

func (a *Authority) stillGood(crt, wanted *x509.Certificate) bool {
	sameIP := func(ip net.IP) bool { return slices.ContainsFunc(crt.IPAddresses, ip.Equal) }
	return crt.CheckSignatureFrom(a.cert) == nil &&
		a.clock.Now().Add(renewBefore).Before(crt.NotAfter) &&
		!a.clock.Now().Before(crt.NotBefore) &&
		crt.Subject.CommonName == wanted.Subject.CommonName &&
		slices.Equal(crt.Subject.Organization, wanted.Subject.Organization) &&
		!slices.ContainsFunc(wanted.DNSNames, func(n string) bool { return !slices.Contains(crt.DNSNames, n) }) &&
		!slices.ContainsFunc(wanted.IPAddresses, func(ip net.IP) bool { return !sameIP(ip) })
}

func (a *Authority) sign(template *x509.Certificate, public crypto.PublicKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("create serial number: %w", err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of %s: %w", template.Subject.CommonName, err)
	}
	crt, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse certificate of %s: %w", template.Subject.CommonName, err)
	}
	return crt, nil
}

func load(pair Pair) (*x509.Certificate, crypto.Signer, error) {
	certs, err := cert.CertsFromFile(pair.CertFile)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", pair.CertFile, err)
	}
	key, err := keyutil.PrivateKeyFromFile(pair.KeyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", pair.KeyFile, err)
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, fmt.Errorf("read %s: the key is not an ECDSA key", pair.KeyFile)
	}
	if !signer.PublicKey.Equal(certs[0].PublicKey) {
		return nil, nil, fmt.Errorf("%s and %s do not belong together", pair.CertFile, pair.KeyFile)
	}
	return certs[0], signer, nil
}

// store writes the key before the certificate, each as a whole: a crash between
// them leaves a pair that does not match, which the next start makes anew.
func store(pair Pair, crt *x509.Certificate, key *ecdsa.PrivateKey) error {
	pem, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return fmt.Errorf("encode key: %w", err)
	}
	if err := ReplaceFile(pair.KeyFile, pem); err != nil {
		return err
	}
	encoded, err := cert.EncodeCertificates(crt)
	if err != nil {
		return fmt.Errorf("encode certificate: %w", err)
	}
	return ReplaceFile(pair.CertFile, encoded)
}

// ReplaceFile gives path new content, readable by the owner alone; a reader
// sees the old content or the new, never a part. A file that is like that
// already is left alone, so that a server can start again on a full disk.
func ReplaceFile(path string, content []byte) (err error) {
	if holds(path, content) {
		return nil
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(file.Name()))
		}
	}()
	if _, err = file.Write(content); err != nil {
		return errors.Join(err, file.Close())
	}
	if err = file.Sync(); err != nil {
		return errors.Join(err, file.Close())
	}
	if err = file.Close(); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// holds says whether a file has the content and is its owner's alone.
func holds(path string, content []byte) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != 0o600 {
		return false
	}
	found, err := os.ReadFile(path)
	return err == nil && bytes.Equal(found, content)
}
