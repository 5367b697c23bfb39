package app

import (
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	storagemetrics "arl.io/arl/pkg/storage/metrics"
)

// serverRegistry is the registry of the process, which /metrics shows.
type serverRegistry struct{}

var _ storagemetrics.Registry = serverRegistry{}

// Register implements storagemetrics.Registry.
func (serverRegistry) Register(m metrics.Registerable) error { return legacyregistry.Register(m) }

// CustomRegister implements storagemetrics.Registry.
func (serverRegistry) CustomRegister(c metrics.StableCollector) error {
	return legacyregistry.CustomRegister(c)
}
