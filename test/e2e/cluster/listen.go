package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// AddAddress gives the node a further address, such as one that stands for
// something outside of the cluster.
func (c *Cluster) AddAddress(ctx context.Context, ip string) error {
	_, err := c.Exec(ctx, "ip", "addr", "add", ip+"/32", "dev", "node")
	return err
}

// RemoveAddress takes an address away that AddAddress gave.
func (c *Cluster) RemoveAddress(ctx context.Context, ip string) error {
	_, err := c.Exec(ctx, "ip", "addr", "del", ip+"/32", "dev", "node")
	return err
}

// Listen listens on a free port of the node, for servers in the test's own
// process that pods and the control plane are to call.
func (c *Cluster) Listen() (net.Listener, error) {
	return c.ListenAt(net.JoinHostPort(NodeIP, "0"))
}

// ListenAt listens at an address of the node or of a pod, as a program there
// would.
func (c *Cluster) ListenAt(address string) (listener net.Listener, err error) {
	err = c.ns.inside(func() error {
		networks, err := filepath.Glob("/run/netns/*")
		if err != nil {
			return err
		}
		// The address belongs to one of them, or to the node.
		for {
			listener, err = net.Listen("tcp", address)
			if !errors.Is(err, syscall.EADDRNOTAVAIL) || len(networks) == 0 {
				return err
			}
			if err := enterNetwork(networks[0]); err != nil {
				return err
			}
			networks = networks[1:]
		}
	})
	return listener, err
}

// enterNetwork takes the calling thread to a network namespace that has a name.
func enterNetwork(file string) error {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = errors.Join(unix.Setns(fd, unix.CLONE_NEWNET), unix.Close(fd))
	}
	if err != nil {
		return fmt.Errorf("enter the network %s: %w", file, err)
	}
	return nil
}
