// Package namespace is the registry of namespaces of a standalone server: stored
// objects that hold those of the group arl.io.
//
// A namespace is deleted in two steps, as in Kubernetes. REST.Delete marks it
// Terminating, from when on a Guard lets nothing be created in it. Whoever
// empties namespaces, which is not this package, then calls REST.Finish.
//
// Guard has the one lock. There are no goroutines but the generic store's, which
// counts objects from New until REST.Destroy. Read guard.go after this file.
package namespace

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"

	"arl.io/arl/pkg/registry/core"
)

// strategy is how namespaces are created and changed by users: metadata is
// theirs, the status and the finalizers of the spec are the server's.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
}

var (
	_ rest.RESTCreateStrategy = strategy{}
	_ rest.RESTUpdateStrategy = strategy{}
	_ rest.RESTDeleteStrategy = strategy{}
)

func newStrategy() strategy { return strategy{core.Scheme, names.SimpleNameGenerator} }

// NamespaceScoped is false: namespaces are in no namespace.
func (strategy) NamespaceScoped() bool { return false }

// AllowCreateOnUpdate is false: a PUT to a name that does not exist is an error.
func (strategy) AllowCreateOnUpdate(context.Context) bool { return false }

// AllowUnconditionalUpdate is true: a PUT without a resourceVersion wins.
func (strategy) AllowUnconditionalUpdate(context.Context) bool { return true }

// Canonicalize sets the label by which selectors find a namespace by its name.
func (strategy) Canonicalize(obj runtime.Object) {
	ns := obj.(*corev1.Namespace)
	if ns.Labels == nil {
		ns.Labels = map[string]string{}
	}
	ns.Labels[corev1.LabelMetadataName] = ns.Name
}

// PrepareForCreate makes a namespace active, and one that is emptied before it goes.
func (strategy) PrepareForCreate(_ context.Context, obj runtime.Object) {
	ns := obj.(*corev1.Namespace)
	ns.Spec = corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}}
	ns.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
}

// PrepareForUpdate keeps what is the server's.
func (strategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	ns, prev := obj.(*corev1.Namespace), old.(*corev1.Namespace)
	ns.Spec, ns.Status = prev.Spec, prev.Status
}

// Validate checks a new namespace.
func (strategy) Validate(_ context.Context, obj runtime.Object) field.ErrorList {
	ns := obj.(*corev1.Namespace)
	return apivalidation.ValidateObjectMeta(&ns.ObjectMeta, false, apivalidation.ValidateNamespaceName, field.NewPath("metadata"))
}

// ValidateUpdate checks a changed namespace.
func (strategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	ns, prev := obj.(*corev1.Namespace), old.(*corev1.Namespace)
	return apivalidation.ValidateObjectMetaUpdate(&ns.ObjectMeta, &prev.ObjectMeta, field.NewPath("metadata"))
}

// WarningsOnCreate is silent.
func (strategy) WarningsOnCreate(context.Context, runtime.Object) []string { return nil }

// WarningsOnUpdate is silent.
func (strategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

// goesDuringUpdate lets an update delete a namespace that is being deleted and
// was emptied, once its last finalizer goes.
func goesDuringUpdate(_ context.Context, _ string, obj, _ runtime.Object) bool {
	ns := obj.(*corev1.Namespace)
	return len(ns.Spec.Finalizers) == 0 && ns.DeletionTimestamp != nil && len(ns.Finalizers) == 0
}

// terminating says that a namespace is being deleted.
func terminating(ns *corev1.Namespace) bool {
	return ns.DeletionTimestamp != nil || ns.Status.Phase == corev1.NamespaceTerminating
}
