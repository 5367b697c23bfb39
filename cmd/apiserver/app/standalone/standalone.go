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

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/utils/clock"

	"arl.io/arl/cmd/apiserver/app/options"
	"arl.io/arl/cmd/apiserver/app/pki"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/local"
	"arl.io/arl/pkg/podruntime/local/image"
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
}

// New returns the mode. pkiDir holds its certificates; they are made if missing.
func New(o *options.Options, pkiDir string, clk clock.WithTicker) (*Mode, error) {
	ca, err := pki.Ensure(pkiDir, clk)
	if err != nil {
		return nil, err
	}
	return &Mode{options: o, clock: clk, ca: ca}, nil
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

// NewRuntime returns the runtime of pods, which are containers.
func (m *Mode) NewRuntime(ctx context.Context) (podruntime.Runtime, error) {
	mirrors, err := image.ParseMirrors(m.options.Runtime.RegistryMirrors)
	if err != nil {
		return nil, fmt.Errorf("--registry-mirror: %w", err)
	}
	pods, err := local.New(ctx, local.Config{
		Dir:            filepath.Join(m.options.DataDir, RuntimeDir),
		AgentPath:      m.options.Runtime.AgentPath,
		AllowHostImage: m.options.Runtime.AllowHostImage,
		Parallelism:    m.options.Runtime.Parallelism,
		Mirrors:        mirrors,
		Clock:          m.clock,
	})
	if err != nil {
		return nil, fmt.Errorf("set up the container runtime: %w", err)
	}
	return pods, nil
}

// GarbageCollected says that nobody collects objects whose owner is gone.
func (m *Mode) GarbageCollected() bool { return false }

// Install adds what the server answers beyond its own API.
func (m *Mode) Install(server *genericapiserver.GenericAPIServer) { serveCoreV1(server) }

// Whereabouts tell where the server is to be found, as keys and values of a log.
func (m *Mode) Whereabouts() []any { return []any{"address", m.address, "kubeconfig", m.kubeconfig} }

// Run keeps certificates from expiring, until ctx ends. The server notices new files by itself.
func (m *Mode) Run(ctx context.Context) {
	pki.KeepRenewed(ctx, m.clock,
		pki.Step{Name: "the serving certificate", Do: func() error {
			_, err := m.ca.Serving("serving", servingHosts(m.options.Serving.BindAddress))
			return err
		}},
		pki.Step{Name: "the kubeconfig", Do: m.writeKubeconfig},
	)
}
