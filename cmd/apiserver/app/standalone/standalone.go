// Package standalone is the mode of a server that is a whole installation on one
// machine: its own certificates and kubeconfig, one user who may do everything,
// pods as containers of this machine, and the little of the core API that
// kubectl needs. Nothing is asked of any cluster.
//
// Mode is used by one goroutine while the server is made; Run is one of the
// server's goroutines.
package standalone

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/filters"
	"k8s.io/utils/clock"

	"arl.io/arl/cmd/apiserver/app/modes"
	"arl.io/arl/cmd/apiserver/app/options"
	"arl.io/arl/cmd/apiserver/app/pki"
	"arl.io/arl/pkg/apiserver"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/local"
	"arl.io/arl/pkg/podruntime/local/image"
	"arl.io/arl/pkg/registry/core"
)

// RuntimeDir is the folder of the data directory in which containers live.
const RuntimeDir = "runtime"

// Mode makes a server standalone.
type Mode struct {
	options    *options.Options
	clock      clock.WithTicker
	ca         *pki.Authority
	address    string
	kubeconfig string
	// pods shows the containers as pods.
	pods *podView
	// core is set by Extend, and emptier.
	core    *apiserver.Core
	emptier *emptier
}

// New returns the mode. pkiDir holds its certificates; they are made if missing.
func New(o *options.Options, pkiDir string, clk clock.WithTicker) (*Mode, error) {
	ca, err := pki.Ensure(pkiDir, clk)
	if err != nil {
		return nil, err
	}
	return &Mode{options: o, clock: clk, ca: ca, pods: newPodView(clk)}, nil
}

// Apply fills in the generic server's config: certificates, the listener, and
// who may do what. It writes the kubeconfig.
func (m *Mode) Apply(ctx context.Context, config *genericapiserver.RecommendedConfig) error {
	serving := m.options.Serving
	pair, err := m.ca.Serving("serving", servingHosts(serving.BindAddress))
	if err != nil {
		return err
	}
	if err := listen(ctx, &config.Config, serving, pair); err != nil {
		return err
	}
	if err := applyAccess(&config.Config, m.ca); err != nil {
		return err
	}
	m.address = clientAddress(serving.BindAddress, serving.BindPort)
	config.ExternalAddress = m.address
	return m.writeKubeconfig()
}

func (m *Mode) writeKubeconfig() error {
	admin, err := m.ca.Client("admin", adminUser, []string{"system:masters"})
	if err != nil {
		return err
	}
	authority, err := os.ReadFile(m.ca.CAFile())
	if err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	m.kubeconfig, err = pki.WriteKubeconfig(m.options.DataDir, "https://"+m.address, authority, admin)
	return err
}

// NewRuntime returns the runtime of pods, which are containers. It keeps what it knows of them in its own
// directory, which nobody else can write.
func (m *Mode) NewRuntime(ctx context.Context, _ modes.Notes) (podruntime.Runtime, error) {
	mirrors, err := image.ParseMirrors(m.options.Runtime.RegistryMirrors)
	if err != nil {
		return nil, fmt.Errorf("--registry-mirror: %w", err)
	}
	pods, err := local.New(ctx, local.Config{
		Dir:                filepath.Join(m.options.DataDir, RuntimeDir),
		AgentPath:          m.options.Runtime.AgentPath,
		AllowHostImage:     m.options.Runtime.AllowHostImage,
		Parallelism:        m.options.Runtime.Parallelism,
		UserIDs:            m.options.Runtime.PodUserIDs,
		DefaultMemoryBytes: m.options.Runtime.PodMemory.Value(),
		Mirrors:            mirrors,
		Clock:              m.clock,
		Observer:           m.pods,
		Images:             m.options.Runtime.Images,
		StorageLimit:       m.options.Runtime.StorageLimit.Value(),
		MinFree:            uint64(m.options.Storage.MinFree.Value()),
	})
	if err != nil {
		return nil, fmt.Errorf("set up the container runtime: %w", err)
	}
	m.pods.runtime = pods
	return pods, nil
}

// GarbageCollected says that nobody collects objects whose owner is gone.
func (m *Mode) GarbageCollected() bool { return false }

// Extend adds the small part of Kubernetes' own API that is served here.
func (m *Mode) Extend(config *apiserver.Config, parts modes.Parts) error {
	codec, err := core.StorageCodec()
	if err != nil {
		return err
	}
	storage, err := parts.Storage(codec, corev1.SchemeGroupVersion)
	if err != nil {
		return fmt.Errorf("set up the storage of namespaces: %w", err)
	}
	m.core = &apiserver.Core{
		Storage: storage, CreateNamespaces: m.options.CreateNamespaces, ExistingNamespaces: parts.StoredNamespaces,
		Pods: m.pods.feed, Logs: m.pods,
	}
	config.Extra.Core = m.core
	longRunning := filters.BasicLongRunningRequestCheck(sets.NewString("watch"), sets.NewString("log"))
	config.GenericConfig.LongRunningFunc = longRunning
	m.emptier, err = newEmptier(m.core, parts.Self, m.clock)
	return err
}

// Prepare creates the namespaces that are missing. What cannot be created now, as
// on a full disk, is tried again by Run.
func (m *Mode) Prepare(ctx context.Context) { m.emptier.ensure(ctx) }

// Whereabouts tell where the server is to be found, as keys and values of a log.
func (m *Mode) Whereabouts() []any { return []any{"address", m.address, "kubeconfig", m.kubeconfig} }

// Run keeps certificates from expiring and empties namespaces that are being
// deleted, until ctx ends.
func (m *Mode) Run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { m.keepCertificates(ctx) })
	group.Go(func() { m.emptier.run(ctx) })
}

// keepCertificates renews certificates. The server notices new files by itself.
func (m *Mode) keepCertificates(ctx context.Context) {
	pki.KeepRenewed(ctx, m.clock,
		pki.Step{Name: "the serving certificate", Do: func() error {
			_, err := m.ca.Serving("serving", servingHosts(m.options.Serving.BindAddress))
			return err
		}},
		pki.Step{Name: "the kubeconfig", Do: m.writeKubeconfig},
	)
}
