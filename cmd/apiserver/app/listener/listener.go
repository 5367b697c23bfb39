// Package listener opens the port that a server serves on, in both modes, and
// explains in the terms of the flags why it cannot. It starts no goroutine; the
// server closes what was opened.
package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
)

// Apply opens the port of the options and has the config serve on it. Port 0
// means any free one; the options name the chosen port afterwards.
func Apply(ctx context.Context, config *genericapiserver.Config, serving *genericoptions.SecureServingOptions) error {
	if err := open(ctx, serving); err != nil {
		return err
	}
	if err := serving.WithLoopback().ApplyToConfig(config); err != nil {
		return fmt.Errorf("set up serving on port %d: %w", serving.BindPort, err)
	}
	return nil
}

// open listens on the address and port of the options. The generic options
// would forget both in their error, and take port 0 for "do not serve".
func open(ctx context.Context, serving *genericoptions.SecureServingOptions) error {
	if serving.Listener != nil {
		return nil
	}
	network := serving.BindNetwork
	if network == "" {
		network = "tcp"
	}
	address := net.JoinHostPort(serving.BindAddress.String(), strconv.Itoa(serving.BindPort))
	config := net.ListenConfig{Control: share(serving)}
	opened, err := config.Listen(ctx, network, address)
	if err != nil {
		return explain(address, serving, err)
	}
	tcp, ok := opened.Addr().(*net.TCPAddr)
	if !ok {
		return errors.Join(fmt.Errorf("listen on %s: %s is no TCP address", address, opened.Addr()), opened.Close())
	}
	serving.Listener, serving.BindPort = opened, tcp.Port
	return nil
}

// share sets what --permit-port-sharing and --permit-address-sharing ask for.
func share(serving *genericoptions.SecureServingOptions) func(network, address string, conn syscall.RawConn) error {
	return func(_, _ string, conn syscall.RawConn) error {
		var failed error
		err := conn.Control(func(fd uintptr) {
			if serving.PermitPortSharing {
				failed = errors.Join(failed, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
			}
			if serving.PermitAddressSharing {
				failed = errors.Join(failed, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
			}
		})
		return errors.Join(err, failed)
	}
}

// explain names the flag that the cause of an error has to do with.
func explain(address string, serving *genericoptions.SecureServingOptions, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && serving.BindPort == 0:
		return fmt.Errorf("--secure-port 0: every port of %s is in use: end some connections or processes, or name a port: %w", serving.BindAddress, err)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("--secure-port %d: %s is in use: stop the process that listens there, or choose another port: %w",
			serving.BindPort, address, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("--secure-port %d: this user may not listen there: choose a port of 1024 or above: %w", serving.BindPort, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("--bind-address %s: is not an address of this machine: %w", serving.BindAddress, err)
	}
	return fmt.Errorf("listen on %s: %w", address, err)
}
