package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// namespaces are the process, mount and network namespace of a cluster, kept
// by their first process.
type namespaces struct {
	holder *exec.Cmd
	stdin  io.WriteCloser // its end ends all
	pidfd  int
}

// makeNamespaces starts the holder and furnishes its namespaces.
func (c *Cluster) makeNamespaces(ctx context.Context) error {
	log, err := os.Create(filepath.Join(c.logs, "holder.log"))
	if err != nil {
		return fmt.Errorf("create the holder's log: %w", err)
	}
	defer log.Close()
	ns := &namespaces{pidfd: -1, holder: exec.Command(c.programs["holder"])}
	ns.holder.Stderr = log
	ns.holder.ExtraFiles = []*os.File{c.lock.file}
	ns.holder.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
		// A key that interrupts the test must not reach what the test is to end.
		Setpgid: true,
		PidFD:   &ns.pidfd,
	}
	if ns.stdin, err = ns.holder.StdinPipe(); err != nil {
		return fmt.Errorf("make the holder's input: %w", err)
	}
	stdout, err := ns.holder.StdoutPipe()
	if err != nil {
		return fmt.Errorf("make the holder's output: %w", err)
	}
	if err := ns.holder.Start(); err != nil {
		return fmt.Errorf("start the holder: %w", err)
	}
	c.ns = ns
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		return fmt.Errorf("the holder did not get ready, see %s: %w", log.Name(), err)
	}
	if err := c.makeMounts(); err != nil {
		return err
	}
	return c.makeNetwork(ctx)
}

// close ends the holder, and with it all processes of the namespaces. It
// returns once none of them is left.
func (ns *namespaces) close() error {
	err := ns.stdin.Close()
	if exited := ns.holder.Wait(); exited != nil {
		err = errors.Join(err, fmt.Errorf("the holder: %w", exited))
	}
	if ns.pidfd >= 0 {
		err = errors.Join(err, unix.Close(ns.pidfd))
	}
	return err
}

// inside calls a function on a thread that is in the cluster's namespaces. What
// the function starts or opens on its own goroutine stays there.
func (ns *namespaces) inside(do func() error) error {
	done := make(chan error, 1)
	go func() {
		// Not unlocked: the thread cannot go back, and ends with the goroutine.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			done <- fmt.Errorf("leave the test's namespaces: %w", err)
			return
		}
		if err := unix.Setns(ns.pidfd, unix.CLONE_NEWPID|unix.CLONE_NEWNS|unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter the cluster's namespaces: %w", err)
			return
		}
		done <- do()
	}()
	return <-done
}

// DialContext connects from inside the cluster's network. The address has to
// be a number, for a name would be looked up by another thread.
func (c *Cluster) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if net.ParseIP(host) == nil {
		return nil, fmt.Errorf("dial %s: only numeric addresses can be reached from a test", address)
	}
	err = c.ns.inside(func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// tunables are settings of the whole machine, and what the kubelet demands them to be.
var tunables = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// ownFolders are those of the machine that a cluster does not see: programs
// have folders below them built in, and the cluster has its own in their place.
// Folders deeper down would have to be made on the machine to be mounted over.
var ownFolders = []string{"/run", "/var/lib", "/var/log"}

// makeMounts gives the cluster its own folders, and the settings that the
// kubelet wants to see.
func (c *Cluster) makeMounts() error {
	sources := map[string]string{"/var/log": c.logs} // the kubelet's logs of pods belong to the others
	for _, target := range ownFolders {
		if strings.HasPrefix(c.config.Dir, target+"/") {
			return fmt.Errorf("%s is below %s, which the cluster has for itself: choose another folder", c.config.Dir, target)
		}
		if sources[target] == "" {
			sources[target] = filepath.Join(c.run, "own", target)
		}
		if err := os.MkdirAll(sources[target], 0o755); err != nil {
			return fmt.Errorf("make the cluster's own %s: %w", target, err)
		}
	}
	settings := filepath.Join(c.run, "own", "tunables")
	for name, value := range tunables {
		file := filepath.Join(settings, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(value+"\n"), 0o644)); err != nil {
			return fmt.Errorf("write the settings that the kubelet is shown: %w", err)
		}
	}
	return c.ns.inside(func() error {
		for target, source := range sources {
			if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
				return fmt.Errorf("mount %s: %w", target, err)
			}
		}
		for name := range tunables {
			target := filepath.Join("/proc/sys", name)
			if err := unix.Mount(filepath.Join(settings, name), target, "", unix.MS_BIND, ""); err != nil {
				return fmt.Errorf("mount %s: %w", target, err)
			}
		}
		return nil
	})
}

// makeNetwork gives the cluster's network a node address and a way out that
// leads nowhere: the API server refuses to advertise a loopback address.
func (c *Cluster) makeNetwork(ctx context.Context) error {
	for _, command := range []string{
		"ip link set lo up",
		"ip link add uplink type veth peer name node",
		"ip link set uplink up",
		"ip link set node up",
		"ip addr add " + NodeIP + "/24 dev node",
		"ip route add default via " + gatewayIP + " dev node",
		"sysctl -qw net.ipv4.ip_forward=1",
	} {
		args := strings.Fields(command)
		if _, err := c.Exec(ctx, args[0], args[1:]...); err != nil {
			return fmt.Errorf("make the network: %w", err)
		}
	}
	return nil
}
