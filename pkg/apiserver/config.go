package apiserver

import (
	"context"
	"net/http"

	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apiserver/tenancy"
	generatedopenapi "arl.io/arl/pkg/generated/openapi"
	"arl.io/arl/pkg/registry/core"
	"arl.io/arl/pkg/registry/sandbox"
	"arl.io/arl/pkg/registry/warmpool"
)

// Config is what a server is made from. Make one with NewConfig, apply options
// to its GenericConfig, fill Extra, then Complete it.
type Config struct {
	// GenericConfig is the generic API server's. Its RESTOptionsGetter leads
	// to the storage and must be set.
	GenericConfig *genericapiserver.RecommendedConfig
	// Extra is what is ours.
	Extra Extra
}

// Extra is what the generic API server knows nothing of. All of it is optional.
type Extra struct {
	// Keeper knows which pools have pods in use. Without it a deleted pool is gone at once.
	Keeper warmpool.Keeper
	// Allocator gives free pods to sandboxes in the create itself. Without it
	// every new sandbox is Pending.
	Allocator sandbox.Allocator
	// HealthChecks are asked by /healthz, /livez and /readyz. What says no
	// here has the process restarted.
	HealthChecks []healthz.HealthChecker
	// ReadyChecks are asked by /readyz alone.
	ReadyChecks []healthz.HealthChecker
	// Clock is what ages in tables are reckoned with. The real clock if nil.
	Clock clock.PassiveClock
	// NamespaceLabels returns the labels of a namespace, or none if it does not exist. Without it, and
	// without Core, no namespace has labels: see package tenancy.
	NamespaceLabels func(ctx context.Context, namespace string) (map[string]string, error)
	// PodWarnings says what a namespace with these labels has against the pods of a pool. Optional.
	PodWarnings func(namespace map[string]string, pool *v1alpha1.WarmPool) []string
	// Core has a part of Kubernetes' own API served, too. It is nil in a cluster,
	// which serves that itself.
	Core *Core
}

// NewConfig returns a config with everything that follows from the API itself:
// codecs, OpenAPI in both versions, and the version at /version, which is the
// given one of ours behind that of the Kubernetes API it is compatible with.
func NewConfig(version string) *Config {
	generic := genericapiserver.NewRecommendedConfig(Codecs)
	generic.EffectiveVersion = newEffectiveVersion(version)
	info := &spec.Info{InfoProps: spec.InfoProps{
		Title:       "ARL",
		Description: "Agent Runtime Layer: warm pools of pods, sandboxes that claim them, and tasks that run in those.",
		Version:     version,
	}}
	namer := openapi.NewDefinitionNamer(Scheme)
	generic.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(generatedopenapi.GetOpenAPIDefinitions, namer)
	generic.OpenAPIConfig.Info = info
	generic.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(generatedopenapi.GetOpenAPIDefinitions, namer)
	generic.OpenAPIV3Config.Info = info
	return &Config{GenericConfig: generic}
}

// CompletedConfig can only be had from Complete.
type CompletedConfig struct {
	*completedConfig
}

type completedConfig struct {
	generic genericapiserver.CompletedConfig
	extra   Extra
	// gate is in front of chain, which was the admission of the config.
	gate  *tenancy.Gate
	chain admission.Interface
}

// Complete derives whatever is not set. The config must not be changed after it.
func (c *Config) Complete() CompletedConfig {
	if c.Extra.Core != nil {
		// Kinds that are served are known to the definitions of the API by name.
		namer := openapi.NewDefinitionNamer(Scheme, core.Scheme)
		c.GenericConfig.OpenAPIConfig.GetDefinitionName = namer.GetDefinitionName
		c.GenericConfig.OpenAPIV3Config.GetDefinitionName = namer.GetDefinitionName
	}
	chain := c.GenericConfig.BuildHandlerChainFunc
	c.GenericConfig.BuildHandlerChainFunc = func(handler http.Handler, config *genericapiserver.Config) http.Handler {
		return chain(withStatuses(withBoundedPatches(handler, Codecs), Codecs), config)
	}
	gate, admits := &tenancy.Gate{}, c.GenericConfig.AdmissionControl
	c.GenericConfig.AdmissionControl = gate
	return CompletedConfig{&completedConfig{generic: c.GenericConfig.Complete(), extra: c.Extra, gate: gate, chain: admits}}
}
