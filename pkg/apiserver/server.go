// Package apiserver makes the API server: the scheme, OpenAPI, the arl.io group
// with the storage of every kind and subresource, and the health checks. It
// reads no flags and opens no storage: cmd/apiserver/app does, and hands both
// in through Config.
//
// The scheme and its codecs are its only globals. It starts no goroutines; the
// generic API server starts and joins its own while it runs.
//
// Read config.go first, then server.go.
package apiserver

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apiserver/tenancy"
	"arl.io/arl/pkg/registry/kind"
	"arl.io/arl/pkg/registry/sandbox"
	"arl.io/arl/pkg/registry/task"
	"arl.io/arl/pkg/registry/warmpool"
)

// New returns a server that serves the arl.io group. It returns an error if
// the config is not complete or a storage cannot be had.
func (c CompletedConfig) New() (*genericapiserver.GenericAPIServer, error) {
	if c.generic.RESTOptionsGetter == nil {
		return nil, errors.New("make API server: no storage configured: RESTOptionsGetter is nil")
	}
	server, err := c.generic.New("arl-apiserver", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, fmt.Errorf("make API server: %w", err)
	}
	cfg := kind.Config{Typer: Scheme, RESTOptions: c.generic.RESTOptionsGetter, Clock: c.extra.Clock}
	if c.extra.Core != nil {
		if err := c.extra.Core.open(&cfg); err != nil {
			return nil, err
		}
	}
	resources, err := c.resources(cfg)
	if err != nil {
		return nil, err
	}
	group := genericapiserver.NewDefaultAPIGroupInfo(arl.GroupName, Scheme, metav1.ParameterCodec, Codecs)
	group.NegotiatedSerializer = boundedSerializer{Codecs}
	group.VersionedResourcesStorageMap[v1alpha1.SchemeGroupVersion.Version] = resources
	if err := server.InstallAPIGroup(&group); err != nil {
		return nil, fmt.Errorf("install the API group %s: %w", arl.GroupName, err)
	}
	if c.extra.Core != nil {
		if err := c.extra.Core.install(server, c.extra.Clock); err != nil {
			return nil, err
		}
	}
	if err := server.AddHealthChecks(c.extra.HealthChecks...); err != nil {
		return nil, fmt.Errorf("add health checks: %w", err)
	}
	if err := server.AddReadyzChecks(c.extra.ReadyChecks...); err != nil {
		return nil, fmt.Errorf("add readiness checks: %w", err)
	}
	return server, nil
}

// resources maps every resource and subresource of v1alpha1 to what serves it.
// If one cannot be had, none is left open.
func (c *completedConfig) resources(cfg kind.Config) (_ map[string]rest.Storage, err error) {
	resources := map[string]rest.Storage{}
	defer func() {
		if err != nil {
			for _, r := range resources {
				r.Destroy()
			}
		}
	}()
	pools, err := warmpool.NewStorage(cfg, c.extra.Keeper)
	if err != nil {
		return nil, err
	}
	resources["warmpools"] = pools.WarmPool
	resources["warmpools/status"] = pools.Status
	resources["warmpools/scale"] = pools.Scale
	sandboxes, err := sandbox.NewStorage(cfg, c.extra.Allocator)
	if err != nil {
		return nil, err
	}
	resources["sandboxes"] = sandboxes.Sandbox
	resources["sandboxes/status"] = sandboxes.Status
	tasks, err := task.NewStorage(cfg)
	if err != nil {
		return nil, err
	}
	resources["tasks"] = tasks.Task
	resources["tasks/status"] = tasks.Status
	c.guard(sandboxes.Sandbox)
	return resources, nil
}

// guard completes the part of admission that is about tenants.
func (c *completedConfig) guard(sandboxes rest.Getter) {
	config := tenancy.Config{
		Chain: c.chain, Authorizer: c.generic.Authorization.Authorizer, NamespaceLabels: c.extra.NamespaceLabels, PodWarnings: c.extra.PodWarnings,
		Sandbox: func(ctx context.Context, namespace, name string) (*arl.Sandbox, error) {
			obj, err := sandboxes.Get(request.WithNamespace(ctx, namespace), name, &metav1.GetOptions{})
			if err != nil {
				return nil, err
			}
			sandbox, ok := obj.(*arl.Sandbox)
			if !ok {
				return nil, fmt.Errorf("%T is no sandbox", obj)
			}
			return sandbox, nil
		},
	}
	if config.NamespaceLabels == nil && c.extra.Core != nil {
		config.NamespaceLabels = c.extra.Core.Namespaces.Labels
	}
	c.gate.Configure(config)
}
