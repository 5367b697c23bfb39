package tenancy

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/warning"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// checkPool wants the right to create pods of whoever decides what the pods of a pool are: a template
// names a ServiceAccount and Secrets of the namespace, and the server creates the pods with its own rights.
func (g *Gate) checkPool(ctx context.Context, a admission.Attributes, pool *arl.WarmPool) error {
	if old, ok := a.GetOldObject().(*arl.WarmPool); ok && samePods(pool, old) {
		return nil
	}
	allowed, err := g.may(ctx, a, authorizer.AttributesRecord{Verb: "create", APIVersion: corev1.SchemeGroupVersion.Version, Resource: "pods"})
	if err != nil {
		return err
	}
	if !allowed {
		return forbid(a, `spec.template: user %q cannot create resource "pods" in API group "" in the namespace %q, `+
			`which the pods of a pool need: have an administrator bind a role that allows it, such as "edit"`, userOf(a), a.GetNamespace())
	}
	return g.warnAboutPods(ctx, a, pool)
}

// samePods says that two states of a pool have the same pods made.
func samePods(pool, old *arl.WarmPool) bool {
	return apiequality.Semantic.DeepEqual(pool.Spec.Template, old.Spec.Template) && pool.Spec.WorkDir == old.Spec.WorkDir
}

// warnAboutPods tells the author of a template what the namespace will have against its pods.
func (g *Gate) warnAboutPods(ctx context.Context, a admission.Attributes, pool *arl.WarmPool) error {
	if g.config.PodWarnings == nil {
		return nil
	}
	labels, err := g.namespaceLabels(ctx, a.GetNamespace())
	if err != nil || len(labels) == 0 {
		return err
	}
	versioned := &v1alpha1.WarmPool{}
	if err := v1alpha1.Convert_arl_WarmPool_To_v1alpha1_WarmPool(pool.DeepCopy(), versioned, nil); err != nil {
		return fmt.Errorf("convert the pool: %w", err)
	}
	for _, text := range g.config.PodWarnings(labels, versioned) {
		warning.AddWarning(ctx, "", text)
	}
	return nil
}
