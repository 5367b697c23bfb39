package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/rand"

	"arl.io/arl/test/e2e/cluster"
)

const (
	// poolNetwork is kustomize's: the policies that docs/kubernetes.md has users apply.
	poolNetwork = "../../artifacts/kubernetes/pool-network"
	// otherPort is one that no policy of ours speaks of. Whoever may be reached
	// in these tests listens there.
	otherPort = "9000"
	// internetIP is one of those that are for examples, and nobody's.
	internetIP = "203.0.113.7"
)

// metadataIPs are where clouds tell a machine its secrets: nearly all, Azure as
// well, Alibaba.
var metadataIPs = []string{"169.254.169.254", "168.63.129.16", "100.100.100.200"}

// barrier is what may stand in the way of a connection.
type barrier string

const (
	nothing barrier = ""
	// serverPolicy is the one that is installed with the server.
	serverPolicy barrier = "the server's policy"
	// poolPolicies are the policies of poolNetwork.
	poolPolicies barrier = "the policies of pools"
)

// way is one that packets may take.
type way struct {
	from, to string
	place    string // as the probe wants it
	closedBy barrier
}

// ways are all that are tried, by somebody in each of their starts.
type ways struct {
	t    *testing.T
	all  []way
	from map[string]prober
}

// prober runs the probe somewhere, and returns what it printed.
type prober func(ctx context.Context, probe ...string) (string, error)

func (w *ways) add(from, to, network, ip, port string, closedBy barrier) {
	w.all = append(w.all, way{from: from, to: to, place: network + "/" + net.JoinHostPort(ip, port), closedBy: closedBy})
}

// await waits until just those ways are closed that these barriers close.
func (w *ways) await(barriers ...barrier) {
	w.t.Helper()
	begin := time.Now()
	eventually(w.t, fmt.Sprintf("what is in the way is %q", barriers), func(ctx context.Context) error {
		var errs []error
		for start := range w.from {
			errs = append(errs, w.try(ctx, start, barriers))
		}
		return errors.Join(errs...)
	})
	closed := 0
	for _, way := range w.all {
		if slices.Contains(barriers, way.closedBy) {
			closed++
		}
	}
	w.t.Logf("in the way is %q: %d of %d ways were closed after %s", barriers, closed, len(w.all), since(begin))
}

// try returns an error unless the ways from one start are as they should be.
func (w *ways) try(ctx context.Context, start string, barriers []barrier) error {
	args := []string{probeProgram, "reach"}
	for _, way := range w.all {
		if way.from == start {
			args = append(args, way.place)
		}
	}
	out, err := w.from[start](ctx, args...)
	if err != nil {
		return fmt.Errorf("%s tries what it can reach: %w", start, err)
	}
	found := map[string]string{}
	for line := range strings.Lines(out) {
		place, state, _ := strings.Cut(strings.TrimSpace(line), " ")
		found[place] = state
	}
	var errs []error
	for _, way := range w.all {
		if way.from != start {
			continue
		}
		want := "open"
		if slices.Contains(barriers, way.closedBy) {
			want = "closed"
		}
		if state := found[way.place]; !strings.HasPrefix(state, want) {
			errs = append(errs, fmt.Errorf("from %s to %s (%s) is %q, want %s", way.from, way.to, way.place, state, want))
		}
	}
	return errors.Join(errs...)
}

// TestNetworkPolicies tries our NetworkPolicies where something heeds them. Each way that
// they close is open before and afterwards, so it is they that close it.
func TestNetworkPolicies(t *testing.T) {
	n := newTenant(t)
	w := newWays(n)
	w.await()

	if err := shared.StartEnforcer(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceValue(func() error { return shared.StopEnforcer(context.Background()) })
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("stop what enforces the policies: %v", err)
		}
	})
	w.await(serverPolicy)

	dir, err := filepath.Abs(poolNetwork)
	if err != nil {
		t.Fatal(err)
	}
	n.kubectl().Run(words("apply", "-k", dir), "arl-pools-egress created", "arl-pools-ingress created")
	w.await(serverPolicy, poolPolicies)
	t.Run("a pool beneath the policies", func(t *testing.T) { n.in(t).testPoolBeneathPolicies(w) })
	w.await(serverPolicy, poolPolicies)

	n.kubectl().Run(words("delete", "-k", dir))
	w.await(serverPolicy)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	w.await()
}

// testPoolBeneathPolicies makes a pool where the policies are applied already.
// The server reached pods at their addresses before, so it tries no other way now.
func (n *tenant) testPoolBeneathPolicies(w *ways) {
	n.FillPool(probePool(n.T, "beneath", 1))
	pod := n.ReadySandbox("beneath", "beneath").Status.PodIP
	task := n.Perform(taskIn("beneath", "says", command("says", probeProgram, "say", "here")))
	wantSucceeded(n.T, task)
	if task.Status.Stdout != "here\n" {
		n.T.Errorf("the task printed %q", task.Status.Stdout)
	}

	inner := &ways{t: n.T, from: map[string]prober{"beneath": n.probeIn("beneath"), "stranger": w.from["stranger"]}}
	inner.add("stranger", "the new pod's agent", "tcp", pod, agentPort, poolPolicies)
	for _, way := range w.all {
		if way.from == "box" {
			way.from = "beneath"
			inner.all = append(inner.all, way)
		}
	}
	inner.await(serverPolicy, poolPolicies)
}

// probeIn runs the probe in a sandbox, as a task.
func (n *tenant) probeIn(sandbox string) prober {
	return func(_ context.Context, probe ...string) (string, error) {
		task := n.Perform(taskIn(sandbox, "probe-"+rand.String(8), command("probes", probe...)))
		if task.Status.Stderr != "" {
			return "", fmt.Errorf("task %s is %s", task.Name, outline(task))
		}
		return task.Status.Stdout, nil
	}
}

// probeInPod runs the probe in a pod of startProbePod.
func probeInPod(namespace, name string) prober {
	return func(ctx context.Context, probe ...string) (string, error) {
		return shared.Kubectl(ctx, cluster.Admin, append([]string{"exec", "-n", namespace, name, "--"}, probe...)...)
	}
}
