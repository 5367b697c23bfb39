package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Names and addresses inside the cluster. They are the same in each one: a
// cluster has its network to itself.
const (
	// NodeName is the name of the only node.
	NodeName = "node-1"
	// NodeIP is where the node and the API server are.
	NodeIP = "10.99.0.2"
	// APIServerURL is the API server's address inside the cluster's network.
	APIServerURL = "https://" + NodeIP + ":6443"

	gatewayIP    = "10.99.0.1"
	serviceRange = "10.96.0.0/16"
	serviceIP    = "10.96.0.1" // the Service "kubernetes", the first of the range
	podRange     = "10.244.0.0/16"
)

// Config says how a cluster is made. Its zero value is a whole cluster.
type Config struct {
	// Dir keeps what was built, the lock, the logs and the data of the running
	// cluster. Empty means .cache/e2e of the checkout.
	Dir string
	// Args are further flags of a program, by the program's name, such as
	// "kube-controller-manager". They win over the flags of this package.
	Args map[string][]string
	// Logf is told what happens and how long it took. Nil is silence.
	Logf func(format string, args ...any)
}

// Cluster is a running cluster.
type Cluster struct {
	config Config
	run    string // data of the running cluster, removed by Close
	logs   string
	cgroup string // path of the pods' cgroup, below the root of each hierarchy
	// programs are the paths of what was built, by name.
	programs map[string]string

	lock *lock
	ns   *namespaces
	pki  *pki

	mu        sync.Mutex // guards what is below
	processes map[string]*process
}

// Start builds what is missing, removes what a killed run left behind, starts a cluster and
// waits until its node is ready. If another run uses the same folder, the error
// is ErrBusy. Every other error names the folder of the logs, and nothing is
// left running.
func Start(ctx context.Context, config Config) (*Cluster, error) {
	if config.Logf == nil {
		config.Logf = func(string, ...any) {}
	}
	if err := checkMachine(); err != nil {
		return nil, err
	}
	if config.Dir == "" {
		root, err := checkout(ctx)
		if err != nil {
			return nil, err
		}
		config.Dir = filepath.Join(root, ".cache", "e2e")
	}
	if err := os.MkdirAll(config.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the cluster's folder: %w", err)
	}
	lock, err := acquire(ctx, filepath.Join(config.Dir, "lock"))
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		config: config, lock: lock, processes: map[string]*process{},
		run: filepath.Join(config.Dir, "run"), logs: filepath.Join(config.Dir, "logs"),
		cgroup: cgroupName(config.Dir),
	}
	if err := c.start(ctx); err != nil {
		err = fmt.Errorf("start a cluster (its logs are in %s): %w", c.logs, err)
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// start is the order in which a cluster comes up.
func (c *Cluster) start(ctx context.Context) error {
	c.config.Logf("the logs of all programs are in %s", c.logs)
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"remove what is left of the last run", c.removeLeftovers},
		{"make folders", c.makeFolders},
		{"build the programs", c.build},
		{"make certificates", c.makeCertificates},
		{"make namespaces", c.makeNamespaces},
		{"start etcd", c.startEtcd},
		{"start kube-apiserver", c.startAPIServer},
		{"start kube-controller-manager and kube-scheduler", c.startControllers},
		{"start containerd", c.startContainerd},
		{"make the pause image", c.importPause},
		{"start kubelet and kube-proxy", c.startNode},
		{"wait for the node", c.WaitNodeReady},
	} {
		begin := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		c.config.Logf("%s: %s", step.name, time.Since(begin).Round(time.Millisecond))
	}
	return nil
}

// Logs is the folder with the logs of all programs. It is kept until the next start.
func (c *Cluster) Logs() string { return c.logs }

// TempDir is a folder for images and files of a test. Close removes it.
func (c *Cluster) TempDir() string { return c.run }

// Close ends every process of the cluster and removes all but what was built
// and the logs. It may be called again.
func (c *Cluster) Close() error {
	var errs []error
	if c.ns != nil {
		errs = append(errs, c.ns.close())
		c.ns = nil
	}
	c.mu.Lock()
	for name, p := range c.processes {
		<-p.exited // the namespaces are gone, and it with them
		delete(c.processes, name)
	}
	c.mu.Unlock()
	if c.lock != nil {
		errs = append(errs, c.removeLeftovers(context.Background()), c.lock.release())
		c.lock = nil
	}
	return errors.Join(errs...)
}
