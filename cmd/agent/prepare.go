package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"arl.io/arl/pkg/agent/wire"
)

// neverExpires is the date that stands for a certificate without an end (RFC
// 5280, 4.1.2.5). Clients know the key, and go by nothing else.
var neverExpires = time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)

// prepare makes a directory ready for serve in another container: this program,
// a new key with a certificate, and the authorities of clients. It writes which
// key it is to the report, which a kubelet reads from an init container.
func prepare(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("arl-agent prepare", flag.ContinueOnError)
	flags.SetOutput(stderr)
	report := flags.String("report", "/dev/termination-log", "`file` to write to which key was made")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errUsage
	}
	if flags.NArg() != 1 {
		fmt.Fprint(stderr, usage)
		return errUsage
	}
	dir, authorities := flags.Arg(0), []byte(os.Getenv(wire.ClientCAVariable))
	if !x509.NewCertPool().AppendCertsFromPEM(authorities) {
		return fmt.Errorf("%s must hold the certificate authorities of clients", wire.ClientCAVariable)
	}
	if err := copySelf(filepath.Join(dir, wire.AgentFile)); err != nil {
		return err
	}
	// A place to mount on: the directory is read-only to whoever mounts there.
	if err := os.MkdirAll(filepath.Join(dir, wire.HomeSubPath), 0o755); err != nil {
		return fmt.Errorf("preparing %s: %w", dir, err)
	}
	identity, err := makeIdentity(dir)
	if err == nil {
		err = publish(filepath.Join(dir, wire.ClientCAFile), authorities)
	}
	if err != nil {
		return fmt.Errorf("preparing %s: %w", dir, err)
	}
	encoded, err := json.Marshal(identity)
	if err == nil {
		err = os.WriteFile(*report, encoded, 0o644)
	}
	if err != nil {
		return fmt.Errorf("reporting the key: %w", err)
	}
	return nil
}

// makeIdentity writes a new key and its certificate into dir.
func makeIdentity(dir string) (wire.Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return wire.Identity{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "arl-agent"},
		// A clock that is set back must not matter.
		NotBefore:   time.Unix(0, 0),
		NotAfter:    neverExpires,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return wire.Identity{}, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return wire.Identity{}, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return wire.Identity{}, err
	}
	err = errors.Join(
		publish(filepath.Join(dir, wire.CertFile), encodePEM("CERTIFICATE", certificate)),
		publish(filepath.Join(dir, wire.KeyFile), encodePEM("PRIVATE KEY", private)))
	sum := sha256.Sum256(public)
	return wire.Identity{PublicKeySHA256: sum[:]}, err
}

func encodePEM(kind string, der []byte) []byte {
	var out bytes.Buffer
	// A buffer takes all that is written to it.
	_ = pem.Encode(&out, &pem.Block{Type: kind, Bytes: der})
	return out.Bytes()
}

// publish writes a file that every user may read: which one the agent's
// container has is not known here, and only that container gets to see the directory.
func publish(path string, content []byte) error {
	// An init container may be run again, and could not write to the file of the first time.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(path, content, 0o444); err != nil {
		return err
	}
	// The mode of a new file is cut down by the umask.
	return os.Chmod(path, 0o444)
}
