package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// containerdSocket is the usual one: the cluster has /run for itself.
	containerdSocket = "/run/containerd/containerd.sock"
	// kubeletHealth is where a kubelet serves its health check, once it has found containerd.
	kubeletHealth = "127.0.0.1:10248"
	// kubeletStarts bounds how often a kubelet is started that ends at once.
	kubeletStarts = 20
	pauseImage    = "arl.io/e2e/pause:latest"
)

// startContainerd starts containerd with its CRI plugin on a bridge network.
func (c *Cluster) startContainerd(ctx context.Context) error {
	cni := filepath.Join(c.run, "cni")
	config := filepath.Join(c.run, "containerd.toml")
	err := errors.Join(
		os.MkdirAll(cni, 0o755),
		os.WriteFile(filepath.Join(cni, "10-bridge.conflist"), []byte(bridgeConfig), 0o644),
		os.WriteFile(config, fmt.Appendf(nil, containerdConfig, c.run, c.run, pauseImage, cniDir, cni), 0o644),
		c.makeCgroups(),
	)
	if err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	p, err := c.spawn("containerd", "containerd", "--config="+config)
	if err != nil {
		return err
	}
	return p.until(ctx, "serves the kubelet's interface", func(ctx context.Context) error {
		out, err := c.ctr(ctx, "plugins", "ls", "id==cri")
		if err == nil && !strings.Contains(out, "ok") {
			err = errors.New(out)
		}
		return err
	})
}

// ctr runs containerd's command line tool.
func (c *Cluster) ctr(ctx context.Context, args ...string) (string, error) {
	return c.Exec(ctx, "ctr", append([]string{"--address=" + containerdSocket, "--namespace=k8s.io"}, args...)...)
}

// startNode starts kubelet and kube-proxy.
func (c *Cluster) startNode(ctx context.Context) error {
	return errors.Join(c.StartKubelet(ctx), c.startProxy())
}

// StartKubelet starts a kubelet that was killed or stopped. It waits until the kubelet serves, but not
// for the node to be ready. A kubelet ends if containerd does not serve it yet, which no command line
// tool shows beforehand; it is then started again, as systemd would.
func (c *Cluster) StartKubelet(ctx context.Context) error {
	kubeconfig, err := c.Kubeconfig("system:node:"+NodeName, "system:nodes")
	if err != nil {
		return err
	}
	config, err := writeJSON(filepath.Join(c.run, "kubelet.json"), c.kubeletConfig())
	if err != nil {
		return err
	}
	for starts := 1; ; starts++ {
		p, err := c.spawn("kubelet", c.programs["kubelet"],
			"--config="+config, "--kubeconfig="+kubeconfig,
			"--hostname-override="+NodeName, "--node-ip="+NodeIP)
		if err != nil {
			return err
		}
		err = p.until(ctx, "serves", func(ctx context.Context) error {
			return c.ns.inside(func() error {
				conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", kubeletHealth)
				if err != nil {
					return err
				}
				return conn.Close()
			})
		})
		if err == nil || p.running() || starts == kubeletStarts || !strings.Contains(p.tail(), "server is not initialized") {
			return err
		}
	}
}

// kubeletConfig is a node without reserves: it may use all of the machine, and
// evicts nothing.
func (c *Cluster) kubeletConfig() map[string]any {
	return map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false},
			"x509":      map[string]any{"clientCAFile": c.pki.path("ca.crt")},
			"webhook":   map[string]any{"enabled": true},
		},
		"authorization":            map[string]any{"mode": "Webhook"},
		"tlsCertFile":              c.pki.path("kubelet.crt"),
		"tlsPrivateKeyFile":        c.pki.path("kubelet.key"),
		"containerRuntimeEndpoint": "unix://" + containerdSocket,
		"volumePluginDir":          filepath.Join(c.run, "volume-plugins"),
		"resolvConf":               "",
		// Pods stand below one cgroup, so that all of them can be found and removed.
		"cgroupDriver": "cgroupfs", "cgroupRoot": c.cgroup,
		"enforceNodeAllocatable": []string{}, "failCgroupV1": false, "failSwapOn": false,
		"localStorageCapacityIsolation": false,
		"evictionHard": map[string]string{
			"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
			"imagefs.available": "0%", "imagefs.inodesFree": "0%",
		},
		"imageGCHighThresholdPercent": 100,
		// By default, a container that was killed a few times waits for minutes. From
		// Kubernetes 1.32 on a kubelet can be told otherwise, before 1.35 if the gate is opened.
		"crashLoopBackOff": map[string]any{"maxContainerRestartPeriod": "1s"},
		"featureGates":     map[string]bool{"KubeletCrashLoopBackOffMax": true},
		"maxPods":          250,
	}
}

// startProxy starts kube-proxy, which makes Services' addresses lead to pods.
func (c *Cluster) startProxy() error {
	kubeconfig, err := c.Kubeconfig("system:kube-proxy")
	if err != nil {
		return err
	}
	config, err := writeJSON(filepath.Join(c.run, "kube-proxy.json"), map[string]any{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"clientConnection": map[string]any{"kubeconfig": kubeconfig},
		"hostnameOverride": NodeName, "mode": "iptables", "clusterCIDR": podRange,
		// The limits of connections are the machine's, and stay as they are.
		"conntrack": map[string]any{
			"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s",
		},
	})
	if err != nil {
		return err
	}
	_, err = c.spawn("kube-proxy", c.programs["kube-proxy"], "--config="+config)
	return err
}

func writeJSON(file string, value any) (string, error) {
	content, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("encode %s: %w", file, err)
	}
	if err := os.WriteFile(file, content, 0o644); err != nil {
		return "", fmt.Errorf("write a configuration: %w", err)
	}
	return file, nil
}

// WaitNodeReady waits until the node is ready by word of the kubelet that runs
// now, and the default service account is there. A kubelet that was killed
// leaves a node that looks ready for a while.
func (c *Cluster) WaitNodeReady(ctx context.Context) error {
	kubelet, err := c.named("kubelet")
	if err != nil {
		return err
	}
	client, err := c.Client(Admin)
	if err != nil {
		return err
	}
	return kubelet.until(ctx, "has made the node ready", func(ctx context.Context) error {
		node, err := client.CoreV1().Nodes().Get(ctx, NodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		lease, err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, NodeName, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) { // a new node's lease is late
			return err
		}
		if last := lastWord(node, lease); last.Before(kubelet.started.Truncate(time.Second)) {
			return fmt.Errorf("the node last said something at %s, before the kubelet was started", last)
		}
		if err := ready(node); err != nil {
			return err
		}
		// Pods can be created once their default account is there.
		_, err = client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// lastWord is when a kubelet last said something of its node. Status has whole
// seconds only.
func lastWord(node *corev1.Node, lease *coordinationv1.Lease) time.Time {
	var last time.Time
	if lease.Spec.RenewTime != nil {
		last = lease.Spec.RenewTime.Time
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.LastHeartbeatTime.After(last) {
			last = condition.LastHeartbeatTime.Time
		}
	}
	return last
}

// ready returns an error that says why pods cannot run on a node.
func ready(node *corev1.Node) error {
	if len(node.Spec.Taints) > 0 {
		return fmt.Errorf("the node has the taints %v", node.Spec.Taints)
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type != corev1.NodeReady {
			continue
		}
		if condition.Status == corev1.ConditionTrue {
			return nil
		}
		return fmt.Errorf("the node is not ready: %s", condition.Message)
	}
	return errors.New("the node does not say yet whether it is ready")
}

// KillKubelet kills the kubelet with SIGKILL. The pods go on.
func (c *Cluster) KillKubelet() error { return c.kill("kubelet") }

// StopNode ends the node as a loss of power would: kubelet, kube-proxy,
// containerd and each process of each pod are killed. The control plane goes on.
func (c *Cluster) StopNode(ctx context.Context) error {
	if err := errors.Join(c.kill("kubelet"), c.kill("kube-proxy"), c.kill("containerd")); err != nil {
		return err
	}
	return c.killPods(ctx)
}

// StartNode starts a node that was stopped, and waits until it is ready.
func (c *Cluster) StartNode(ctx context.Context) error {
	if err := c.startContainerd(ctx); err != nil {
		return err
	}
	if err := c.startNode(ctx); err != nil {
		return err
	}
	return c.WaitNodeReady(ctx)
}

// killPods kills the processes of pods and those that watch over them.
func (c *Cluster) killPods(context.Context) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || !c.ofPod(pid) {
			continue
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill process %d of a pod: %w", pid, err)
		}
	}
	return nil
}

// ofPod says whether a process of the machine belongs to a pod of this cluster:
// it is in the pods' cgroup, or in the cluster and a shim of containerd.
func (c *Cluster) ofPod(pid int) bool {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	cgroups, err := os.ReadFile(filepath.Join(proc, "cgroup"))
	if err != nil {
		return false // it has ended
	}
	if strings.Contains(string(cgroups), c.cgroup+"/") {
		return true
	}
	command, err := os.ReadFile(filepath.Join(proc, "comm"))
	if err != nil || !strings.HasPrefix(string(command), "containerd-shim") {
		return false
	}
	its, err := os.Readlink(filepath.Join(proc, "ns", "pid"))
	if err != nil {
		return false
	}
	ours, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(c.ns.holder.Process.Pid), "ns", "pid"))
	return err == nil && its == ours
}
