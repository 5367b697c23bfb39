// Package aggregated is the mode of a server that stands behind the API server
// of a cluster. The cluster says who a user is and what he may do, its admission
// policies, webhooks and quotas hold for our kinds too, requests share their
// turns by its flow schemas, and pods are the cluster's.
//
// # Certificates
//
// The server has two authorities of its own in the data directory, each a
// pki.Ring that outlives its certificates. One signs what it serves with: the
// cluster's API server trusts it because its certificate is written into the
// APIService (cabundle.go). The other signs what it shows to agents
// (pods.go), and nothing else. Who holds the kubeconfig in the data
// directory, which is for maintenance from within the pod, is let in by a
// certificate of the first.
//
// # Goroutines
//
// A Mode is used by one goroutine while the server is made. Run starts those
// that keep certificates and caBundle right, and joins them.
package aggregated

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"arl.io/arl/cmd/apiserver/app/modes"
	"arl.io/arl/cmd/apiserver/app/options"
	"arl.io/arl/cmd/apiserver/app/pki"
	"arl.io/arl/pkg/apiserver"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/kube"
)

// Folders of the authorities in the certificates' directory.
const (
	servingDir = "serving"
	agentsDir  = "agents"
)

const (
	// clusterPatience is how long a start waits for the cluster's API server,
	// which may be starting too.
	clusterPatience = 2 * time.Minute
	clusterPoll     = time.Second
)

// Mode makes a server part of a cluster.
type Mode struct {
	options *options.Options
	clock   clock.WithTicker
	serving *pki.Ring
	agents  *pki.Ring
	// certificateGiven says that the server was told what to serve with.
	certificateGiven bool
	// credentials are what the server shows to agents.
	credentials atomic.Pointer[kube.Credentials]

	// Set by Apply.
	config  *rest.Config
	client  kubernetes.Interface
	dynamic dynamic.Interface
	address string
	// namespaces is the cache of namespaces, which the server's informers fill.
	namespaces corelisters.NamespaceLister
}

// New returns the mode. pkiDir holds its certificates; they are made if missing.
func New(o *options.Options, pkiDir string, clk clock.WithTicker) (*Mode, error) {
	serving, err := pki.OpenRing(filepath.Join(pkiDir, servingDir), clk)
	if err != nil {
		return nil, err
	}
	agents, err := pki.OpenRing(filepath.Join(pkiDir, agentsDir), clk)
	if err != nil {
		return nil, err
	}
	m := &Mode{options: o, clock: clk, serving: serving, agents: agents, certificateGiven: o.Serving.ServerCert.CertKey.CertFile != ""}
	return m, m.loadCredentials()
}

// connect makes the clients of the cluster, and waits until it answers.
func (m *Mode) connect(ctx context.Context) (err error) {
	if m.client, err = kubernetes.NewForConfig(m.config); err != nil {
		return fmt.Errorf("make a client of the cluster: %w", err)
	}
	if m.dynamic, err = dynamic.NewForConfig(m.config); err != nil {
		return fmt.Errorf("make a client of the cluster: %w", err)
	}
	var last error
	err = wait.PollUntilContextTimeout(ctx, clusterPoll, clusterPatience, true, func(context.Context) (bool, error) {
		_, err := m.client.Discovery().ServerVersion()
		if err != nil && last == nil {
			klog.FromContext(ctx).Info("Waiting for the cluster's API server", "host", m.config.Host, "err", err)
		}
		last = err
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("the cluster's API server at %s does not answer: %w", m.config.Host, last)
	}
	return nil
}

// NewRuntime returns the runtime of pods, which are the cluster's.
func (m *Mode) NewRuntime(ctx context.Context, notes modes.Notes) (podruntime.Runtime, error) {
	pods, err := m.newRuntime(ctx, notes)
	if err != nil {
		return nil, fmt.Errorf("set up pods of the cluster: %w", err)
	}
	return pods, nil
}

// GarbageCollected says that the cluster collects objects whose owner is gone.
func (m *Mode) GarbageCollected() bool { return true }

// Extend says how admission learns of namespaces. The cluster answers for the rest of its API.
func (m *Mode) Extend(config *apiserver.Config, _ modes.Parts) error {
	config.Extra.NamespaceLabels, config.Extra.PodWarnings = m.namespaceLabels, m.podWarnings
	return nil
}

// Prepare does nothing.
func (m *Mode) Prepare(context.Context) {}

// Whereabouts tell where the server is to be found, as keys and values of a log.
func (m *Mode) Whereabouts() []any {
	return []any{"address", m.address, "service", m.options.Cluster.ServiceHosts()[0], "cluster", m.config.Host}
}

// Run keeps certificates from expiring and the APIService's caBundle up to date,
// until ctx ends.
func (m *Mode) Run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { pki.KeepRenewed(ctx, m.clock, m.renewal()...) })
	if !m.certificateGiven && m.options.Cluster.PublishCA {
		group.Go(func() { newPublisher(m.dynamic, m.serving.Bundle, m.clock).run(ctx) })
	}
}

// renewal renews what nears its end. The server notices new files by itself.
func (m *Mode) renewal() []pki.Step {
	return []pki.Step{
		{Name: "the authority of the serving certificate", Do: m.serving.Refresh},
		{Name: "the serving certificate", Do: func() error {
			_, err := m.servingPair()
			return err
		}},
		{Name: "the kubeconfig", Do: m.writeKubeconfig},
		{Name: "the authority that agents trust", Do: m.agents.Refresh},
		{Name: "the client certificates for agents", Do: m.loadCredentials},
	}
}
