package apiserver

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/registry/core"
	"arl.io/arl/pkg/registry/core/event"
	"arl.io/arl/pkg/registry/core/namespace"
	"arl.io/arl/pkg/registry/core/pod"
	"arl.io/arl/pkg/registry/core/review"
	"arl.io/arl/pkg/registry/kind"
)

// everything is the category of "kubectl get all".
const everything = "all"

// Core is the small part of Kubernetes' own API that a standalone server serves:
// namespaces, reading pods and their logs, events, and reviews of oneself.
type Core struct {
	// Storage leads to where namespaces are stored.
	Storage generic.RESTOptionsGetter
	// CreateNamespaces says that a missing namespace is created with the first
	// object in it.
	CreateNamespaces bool
	// ExistingNamespaces are those that objects are stored in already.
	ExistingNamespaces []string
	// Pods are the pods to show, Logs where their logs are.
	Pods *pod.Feed
	Logs pod.Logs

	// Namespaces is set by New.
	Namespaces *namespace.REST
}

// open makes the storage of namespaces, and has it asked by the kinds of cfg.
func (c *Core) open(cfg *kind.Config) (err error) {
	if c.Namespaces, err = namespace.New(c.Storage, cfg.Clock); err != nil {
		return err
	}
	cfg.Namespaces = namespace.NewGuard(c.Namespaces, c.CreateNamespaces)
	cfg.Categories = []string{everything}
	cfg.KeepsDependents = true
	return nil
}

// install has the groups served.
func (c *Core) install(server *genericapiserver.GenericAPIServer, clk clock.PassiveClock) error {
	if clk == nil {
		clk = clock.RealClock{}
	}
	legacy := genericapiserver.NewDefaultAPIGroupInfo(corev1.GroupName, core.Scheme, core.ParameterCodec, core.Codecs)
	legacy.NegotiatedSerializer = boundedSerializer{core.Codecs}
	legacy.VersionedResourcesStorageMap["v1"] = map[string]rest.Storage{
		"namespaces": c.Namespaces,
		"pods":       pod.New(c.Pods, clk),
		"pods/log":   pod.NewLog(c.Pods, c.Logs, clk),
		"events":     event.New(clk),
	}
	if err := server.InstallLegacyAPIGroup(genericapiserver.DefaultLegacyAPIPrefix, &legacy); err != nil {
		return fmt.Errorf("install the core API group: %w", err)
	}
	for group, resources := range map[string]map[string]rest.Storage{
		authorizationv1.GroupName: {
			"selfsubjectaccessreviews": review.NewAccess(server.Authorizer),
			"selfsubjectrulesreviews":  review.NewRules(server.Authorizer),
		},
		authenticationv1.GroupName: {"selfsubjectreviews": review.NewSubject()},
	} {
		info := genericapiserver.NewDefaultAPIGroupInfo(group, core.Scheme, metav1.ParameterCodec, core.Codecs)
		info.NegotiatedSerializer = boundedSerializer{core.Codecs}
		info.VersionedResourcesStorageMap["v1"] = resources
		if err := server.InstallAPIGroup(&info); err != nil {
			return fmt.Errorf("install the API group %s: %w", group, err)
		}
	}
	return nil
}

// EnsureNamespaces creates the namespaces that always exist, and those that
// objects are stored in, where they are missing. To be called before requests are
// served, and again if it fails, as on a full disk.
func (c *Core) EnsureNamespaces(ctx context.Context) error {
	return c.Namespaces.Ensure(ctx, append([]string{corev1.NamespaceDefault}, c.ExistingNamespaces...)...)
}
