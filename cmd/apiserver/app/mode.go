package app

import (
	"context"
	"path/filepath"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/utils/clock"

	"arl.io/arl/cmd/apiserver/app/aggregated"
	"arl.io/arl/cmd/apiserver/app/modes"
	"arl.io/arl/cmd/apiserver/app/options"
	"arl.io/arl/cmd/apiserver/app/standalone"
	"arl.io/arl/pkg/apiserver"
	"arl.io/arl/pkg/podruntime"
)

// mode is all that differs between a server that is a whole installation on one
// machine and one that stands behind the API server of a cluster.
type mode interface {
	// Apply fills in the generic server's config: certificates, the listener,
	// who may do what, and what is asked before an object is let in.
	Apply(ctx context.Context, config *genericapiserver.RecommendedConfig) error
	// NewRuntime returns where pods come from. Called after Apply.
	NewRuntime(ctx context.Context, notes modes.Notes) (podruntime.Runtime, error)
	// GarbageCollected says that somebody collects objects whose owner is gone.
	GarbageCollected() bool
	// Extend adds what the server answers beyond its own API. Called after NewRuntime.
	Extend(config *apiserver.Config, parts modes.Parts) error
	// Prepare does what has to be done right before the server serves.
	Prepare(ctx context.Context)
	// Whereabouts tell where the server is to be found, as keys and values of a log.
	Whereabouts() []any
	// Run does what goes on beside serving, until ctx ends.
	Run(ctx context.Context)
}

func newMode(o *options.Options, clk clock.WithTicker) (mode, error) {
	dir := filepath.Join(o.DataDir, pkiDir)
	if o.Standalone {
		return standalone.New(o, dir, clk)
	}
	return aggregated.New(o, dir, clk)
}
