package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	enforcerName   = "kube-router"
	enforcerHealth = "http://127.0.0.1:20244/healthz"
	// bridgeFilter has packets between pods, which share a bridge, pass through
	// iptables. Each network namespace has its own; where it is there at all, it
	// is on in a new one.
	bridgeFilter = "/proc/sys/net/bridge/bridge-nf-call-iptables"
)

// StartEnforcer makes NetworkPolicies take effect, which they do not by
// themselves. New and changed ones do a moment after they were made. What they
// forbid is refused rather than dropped; the node itself may reach every pod.
//
// It is kube-router without its router and its proxy. It looks at each pod of
// the node whenever one changes, so it runs only while a test needs it.
func (c *Cluster) StartEnforcer(ctx context.Context) error {
	var filter []byte
	err := c.ns.inside(func() (err error) {
		filter, err = os.ReadFile(bridgeFilter)
		return err
	})
	if errors.Is(err, os.ErrNotExist) {
		return errors.New("the kernel does not filter what goes over a bridge: modprobe br_netfilter")
	}
	if err != nil {
		return fmt.Errorf("see whether packets between pods are filtered: %w", err)
	}
	if strings.TrimSpace(string(filter)) != "1" {
		return fmt.Errorf("packets between pods are not filtered: %s is %s", bridgeFilter, filter)
	}
	// Else only the first refusal of a second says so.
	if _, err := c.Exec(ctx, "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0"); err != nil {
		return err
	}
	kubeconfig, err := c.Kubeconfig("system:"+enforcerName, "system:masters")
	if err != nil {
		return err
	}
	p, err := c.spawn(enforcerName, c.programs[enforcerName],
		"--kubeconfig="+kubeconfig, "--hostname-override="+NodeName,
		"--run-firewall=true", "--run-router=false", "--run-service-proxy=false",
		"--service-cluster-ip-range="+serviceRange)
	if err != nil {
		return err
	}
	err = p.until(ctx, "is healthy", func(ctx context.Context) error {
		return healthy(ctx, c.HTTPClient(), enforcerHealth)
	})
	if err != nil {
		return errors.Join(err, c.StopEnforcer(ctx))
	}
	return nil
}

// StopEnforcer stops what StartEnforcer started. NetworkPolicies are without
// effect when it returns.
func (c *Cluster) StopEnforcer(ctx context.Context) error {
	p, err := c.named(enforcerName)
	if err != nil {
		return err
	}
	// It is asked to, for then it does not leave in the middle of a change.
	errs := []error{p.signal(unix.SIGTERM)}
	// Its other chains lead nowhere without these.
	for _, chain := range []string{"KUBE-ROUTER-INPUT", "KUBE-ROUTER-FORWARD", "KUBE-ROUTER-OUTPUT"} {
		_, err := c.Exec(ctx, "iptables", "--wait", "--flush", chain)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
