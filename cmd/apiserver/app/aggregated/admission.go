package aggregated

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/client-go/discovery"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/apiserver/tenancy"
)

// policyVersion is the API from which admission policies are read.
const policyVersion = "admissionregistration.k8s.io/v1"

// policyPlugins are the admission plugins that read resources which older
// clusters do not have. A plugin waits for its resource, and lets nothing in
// until it has it.
var policyPlugins = map[string]string{
	mutatingpolicy.PluginName:   "mutatingadmissionpolicies",
	validatingpolicy.PluginName: "validatingadmissionpolicies",
}

// leaveOutMissing turns plugins off whose resource the cluster does not have,
// unless they were asked for by name.
func leaveOutMissing(ctx context.Context, cluster discovery.ServerResourcesInterface, o *genericoptions.AdmissionOptions) error {
	found, err := cluster.ServerResourcesForGroupVersion(policyVersion)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("find out which admission policies the cluster has: %w", err)
	}
	served := map[string]bool{}
	if found != nil {
		for _, resource := range found.APIResources {
			served[resource.Name] = true
		}
	}
	for plugin, resource := range policyPlugins {
		if served[resource] || slices.Contains(o.EnablePlugins, plugin) || slices.Contains(o.DisablePlugins, plugin) {
			continue
		}
		klog.FromContext(ctx).Info("The cluster does not have the resource of an admission plugin, which is left out",
			"plugin", plugin, "resource", resource, "version", policyVersion)
		o.DisablePlugins = append(o.DisablePlugins, plugin)
	}
	return nil
}

// countSandboxesLater has quotas count the sandbox of a task when it is created, and not when the task
// is: see package tenancy.
func countSandboxesLater(plugin admission.Interface, name string) admission.Interface {
	if name == resourcequota.PluginName {
		return tenancy.CountLater(plugin)
	}
	return plugin
}

// namespaceLabels returns the labels of a namespace from the cache, or, as a namespace that was just
// created may be missing there, from the cluster.
func (m *Mode) namespaceLabels(ctx context.Context, name string) (map[string]string, error) {
	namespace, err := m.namespaces.Get(name)
	if apierrors.IsNotFound(err) {
		namespace, err = m.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	}
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get namespace %s: %w", name, err)
	}
	return namespace.Labels, nil
}

// quotas gives the quota plugin what it needs to count objects. It has no
// resources of its own to reckon: our objects are counted, their pods are the
// cluster's and counted there.
type quotas struct{}

var _ admission.PluginInitializer = quotas{}

// Initialize implements admission.PluginInitializer.
func (quotas) Initialize(plugin admission.Interface) {
	if wants, ok := plugin.(initializer.WantsQuotaConfiguration); ok {
		wants.SetQuotaConfiguration(generic.NewConfiguration(nil, nil))
	}
}
