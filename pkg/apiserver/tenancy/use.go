package tenancy

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// LabelPoolAccess is a label of namespaces. With the value AccessOpen, or without the label, everyone
// who may create sandboxes in the namespace may create them from each of its pools. With any other
// value, which should be AccessRestricted, a user needs the verb use for the warm pool as well.
//
// It is a label of the namespace and not a field of the pool, so that there is no moment at which it
// does not hold: a sandbox may be created before its pool.
const (
	LabelPoolAccess  = "arl.io/pool-access"
	AccessOpen       = "open"
	AccessRestricted = "restricted"
)

// checkUse wants the right to use a pool, where the namespace is restricted. field is where the object
// names the pool.
func (g *Gate) checkUse(ctx context.Context, a admission.Attributes, field, pool string) error {
	restricted, err := g.restricted(ctx, a.GetNamespace())
	if err != nil || !restricted {
		return err
	}
	allowed, err := g.may(ctx, a, authorizer.AttributesRecord{
		Verb: "use", APIGroup: arl.GroupName, APIVersion: v1alpha1.SchemeGroupVersion.Version, Resource: warmPools, Name: pool,
	})
	if err != nil || allowed {
		return err
	}
	return forbid(a, `%s: user %q cannot use resource "warmpools" %q in API group "arl.io" in the namespace %q, whose label %s restricts its pools: `+
		`have an administrator bind a Role with the rule {apiGroups: [arl.io], resources: [warmpools], resourceNames: [%s], verbs: [use]}`,
		field, userOf(a), pool, a.GetNamespace(), LabelPoolAccess, pool)
}

// checkSandboxRef wants the right to use the pool of the sandbox that a task runs in, where the
// namespace is restricted. The sandbox must exist: nobody knows of another which pool it will have.
func (g *Gate) checkSandboxRef(ctx context.Context, a admission.Attributes, name string) error {
	restricted, err := g.restricted(ctx, a.GetNamespace())
	if err != nil || !restricted || g.config.Sandbox == nil {
		return err
	}
	sandbox, err := g.config.Sandbox(ctx, a.GetNamespace(), name)
	if apierrors.IsNotFound(err) {
		return forbid(a, "spec.sandboxRef: there is no sandbox %q in the namespace %q, whose label %s restricts its pools: create the sandbox before its tasks",
			name, a.GetNamespace(), LabelPoolAccess)
	}
	if err != nil {
		return fmt.Errorf("look up sandbox %s/%s: %w", a.GetNamespace(), name, err)
	}
	return g.checkUse(ctx, a, "spec.sandboxRef", sandbox.Spec.PoolRef)
}

func (g *Gate) restricted(ctx context.Context, namespace string) (bool, error) {
	labels, err := g.namespaceLabels(ctx, namespace)
	if err != nil {
		return false, err
	}
	access, labelled := labels[LabelPoolAccess]
	return labelled && access != AccessOpen, nil
}

func (g *Gate) namespaceLabels(ctx context.Context, namespace string) (map[string]string, error) {
	if g.config.NamespaceLabels == nil {
		return nil, nil
	}
	labels, err := g.config.NamespaceLabels(ctx, namespace)
	if err != nil {
		return nil, fmt.Errorf("look up the labels of namespace %q: %w", namespace, err)
	}
	return labels, nil
}
