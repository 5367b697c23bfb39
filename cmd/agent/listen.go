package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"arl.io/arl/pkg/agent"
)

// tlsOptions are the flags of the TLS listener.
type tlsOptions struct{ address, cert, key, clientCA string }

func (o tlsOptions) validate() error {
	given := o.cert != "" || o.key != "" || o.clientCA != ""
	switch {
	case o.address == "" && given:
		return errors.New("--tls-cert, --tls-key and --client-ca are for --listen-tls, which is missing")
	case o.address != "" && (o.cert == "" || o.key == "" || o.clientCA == ""):
		return errors.New("--listen-tls needs --tls-cert, --tls-key and --client-ca: clients without a certificate are never served")
	}
	return nil
}

// listen opens all listeners that were asked for.
func (o serveOptions) listen() ([]agent.Listener, error) {
	var listeners []agent.Listener
	if o.listenFD >= 0 {
		listener, err := listenFD(o.listenFD)
		if err != nil {
			return nil, fmt.Errorf("--listen-fd %d: %w", o.listenFD, err)
		}
		listeners = append(listeners, agent.Listener{Listener: listener})
	}
	if o.listenUnix != "" {
		listener, err := listenUnix(o.listenUnix)
		if err != nil {
			return nil, fmt.Errorf("--listen-unix %s: %w", o.listenUnix, err)
		}
		listeners = append(listeners, agent.Listener{Listener: listener})
	}
	if o.tls.address != "" {
		listener, err := o.tls.listen()
		if errors.Is(err, unix.EADDRINUSE) {
			// The containers of a pod share one network.
			err = fmt.Errorf("%w: another container of the pod listens there; give it another port, or the server another --agent-port", err)
		}
		if err != nil {
			return nil, fmt.Errorf("--listen-tls %s: %w", o.tls.address, err)
		}
		listeners = append(listeners, agent.Listener{Listener: listener, TLS: true})
	}
	return listeners, nil
}

// listenFD takes over an inherited listening socket.
func listenFD(fd int) (net.Listener, error) {
	inherited := os.NewFile(uintptr(fd), "listener "+strconv.Itoa(fd))
	if inherited == nil {
		return nil, errors.New("not a descriptor")
	}
	// The listener is a duplicate.
	defer inherited.Close()
	return net.FileListener(inherited)
}

// listenUnix makes a socket for this user alone. One that is left from an
// earlier process is replaced.
func listenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	old := unix.Umask(0o177)
	defer unix.Umask(old)
	return net.Listen("unix", path)
}

// listen listens with mutual TLS.
func (o tlsOptions) listen() (net.Listener, error) {
	certificate, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, err
	}
	authorities, err := os.ReadFile(o.clientCA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorities) {
		return nil, fmt.Errorf("%s holds no certificate", o.clientCA)
	}
	return tls.Listen("tcp", o.address, &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{certificate},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
		NextProtos:   []string{"h2"},
	})
}

// closeOnExec keeps all descriptors but the standard three from being inherited.
func closeOnExec() error {
	err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	// The kernel is older than 5.11, or a filter forbids it.
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("finding open descriptors: %w", err)
	}
	for _, entry := range entries {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}
