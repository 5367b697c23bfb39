package kind

import (
	"context"
	"fmt"
	"slices"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// apiVersion is the version whose fields the strategies reset.
var apiVersion = fieldpath.APIVersion(v1alpha1.SchemeGroupVersion.String())

// strategy is how objects are created, changed and deleted by their users: the
// spec and metadata are theirs, the status is not.
type strategy[T Object, S, U any] struct {
	runtime.ObjectTyper
	names.NameGenerator
	def *Definition[T, S, U]
	// keepsDependents: see Config.
	keepsDependents bool
}

// maxErrors is how many errors of a request are reported. More would make an answer larger than
// the request.
const maxErrors = 100

// dependentStays warns whoever sets an owner where no garbage collector runs.
const dependentStays = "metadata.ownerReferences: this server has no garbage collector: the object stays when its owner is deleted"

func newStrategy[T Object, S, U any](def *Definition[T, S, U], typer runtime.ObjectTyper) strategy[T, S, U] {
	return strategy[T, S, U]{ObjectTyper: typer, NameGenerator: nameGenerator{def.MaxNameLength}, def: def}
}

// NamespaceScoped is true for every kind of the group.
func (strategy[T, S, U]) NamespaceScoped() bool { return true }

// AllowCreateOnUpdate is false: a PUT to a name that does not exist is an error.
func (strategy[T, S, U]) AllowCreateOnUpdate(context.Context) bool { return false }

// AllowUnconditionalUpdate is true: a PUT without a resourceVersion wins.
func (strategy[T, S, U]) AllowUnconditionalUpdate(context.Context) bool { return true }

// Canonicalize leaves objects as their authors wrote them.
func (strategy[T, S, U]) Canonicalize(runtime.Object) {}

// GetResetFields names what the author of a spec cannot own.
func (strategy[T, S, U]) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return map[fieldpath.APIVersion]*fieldpath.Set{
		apiVersion: fieldpath.NewSet(fieldpath.MakePathOrDie("status")),
	}
}

// PrepareForCreate starts the generation and replaces the status.
func (s strategy[T, S, U]) PrepareForCreate(_ context.Context, obj runtime.Object) {
	o := obj.(T)
	o.SetGeneration(1)
	s.protect(o)
	*s.def.Status(o) = s.def.InitialStatus(o)
}

// protect puts the kind's finalizer on an object that is not being deleted.
func (s strategy[T, S, U]) protect(o T) {
	if s.def.Finalizer != "" && o.GetDeletionTimestamp() == nil && !slices.Contains(o.GetFinalizers(), s.def.Finalizer) {
		o.SetFinalizers(append(slices.Clip(o.GetFinalizers()), s.def.Finalizer))
	}
}

// DefaultGarbageCollectionPolicy is that of the generic store, unless the kind cascades itself.
// Then a deletion in the foreground is one in the background, which waits for the finalizer.
func (s strategy[T, S, U]) DefaultGarbageCollectionPolicy(context.Context) rest.GarbageCollectionPolicy {
	if s.def.CascadesItself {
		return rest.Unsupported
	}
	return rest.DeleteDependents
}

// PrepareForUpdate keeps the stored status, and counts a generation if the spec
// is another one. The kind's finalizer stays on an object that is not being deleted, whoever replaces
// it by a manifest that does not have it.
func (s strategy[T, S, U]) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	o, prev := obj.(T), old.(T)
	*s.def.Status(o) = *s.def.Status(prev)
	s.protect(o)
	if !apiequality.Semantic.DeepEqual(s.def.Spec(o), s.def.Spec(prev)) {
		o.SetGeneration(prev.GetGeneration() + 1)
	}
}

// Validate checks a new object.
func (s strategy[T, S, U]) Validate(_ context.Context, obj runtime.Object) field.ErrorList {
	return atMost(maxErrors, s.def.Validate(obj.(T)))
}

// ValidateUpdate checks a changed object.
func (s strategy[T, S, U]) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return atMost(maxErrors, s.def.ValidateUpdate(obj.(T), old.(T)))
}

// atMost returns the first errors, the last of which says how many are left out.
func atMost(most int, errs field.ErrorList) field.ErrorList {
	if len(errs) <= most {
		return errs
	}
	last := *errs[most-1]
	last.Detail += fmt.Sprintf(" (%d more errors are left out)", len(errs)-most)
	return append(errs[:most-1:most-1], &last)
}

// WarningsOnCreate returns the kind's warnings, and one about owners that nothing looks after.
func (s strategy[T, S, U]) WarningsOnCreate(_ context.Context, obj runtime.Object) []string {
	o := obj.(T)
	warnings := s.def.Warnings(o)
	if s.keepsDependents && len(o.GetOwnerReferences()) > 0 {
		warnings = append(slices.Clip(warnings), dependentStays)
	}
	return warnings
}

// WarningsOnUpdate returns the kind's warnings that the change brought: who
// sets a label or scales has nothing to do with the others.
func (s strategy[T, S, U]) WarningsOnUpdate(_ context.Context, obj, old runtime.Object) []string {
	o, prev := obj.(T), old.(T)
	var warnings []string
	if s.keepsDependents && len(o.GetOwnerReferences()) > 0 &&
		!apiequality.Semantic.DeepEqual(o.GetOwnerReferences(), prev.GetOwnerReferences()) {
		warnings = append(warnings, dependentStays)
	}
	if o.GetGeneration() == prev.GetGeneration() {
		return warnings
	}
	known := s.def.Warnings(prev)
	changed := slices.DeleteFunc(s.def.Warnings(o), func(w string) bool { return slices.Contains(known, w) })
	return append(warnings, changed...)
}

// statusStrategy is how controllers write the status, and nothing but it.
type statusStrategy[T Object, S, U any] struct {
	strategy[T, S, U]
}

// GetResetFields names what the author of a status cannot own.
func (statusStrategy[T, S, U]) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return map[fieldpath.APIVersion]*fieldpath.Set{
		apiVersion: fieldpath.NewSet(
			fieldpath.MakePathOrDie("metadata"),
			fieldpath.MakePathOrDie("spec"),
		),
	}
}

// PrepareForUpdate keeps the stored spec and metadata, except for the managed
// fields, which tell who wrote the new status.
func (s statusStrategy[T, S, U]) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	o, prev := obj.(T), old.(T)
	*s.def.Spec(o) = *s.def.Spec(prev)
	o.SetLabels(prev.GetLabels())
	o.SetAnnotations(prev.GetAnnotations())
	o.SetFinalizers(prev.GetFinalizers())
	// Objects that are older than the finalizer get it with the next status.
	s.protect(o)
	o.SetOwnerReferences(prev.GetOwnerReferences())
	o.SetGenerateName(prev.GetGenerateName())
	o.SetDeletionTimestamp(prev.GetDeletionTimestamp())
	o.SetDeletionGracePeriodSeconds(prev.GetDeletionGracePeriodSeconds())
}

// ValidateUpdate checks a changed status.
func (s statusStrategy[T, S, U]) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return atMost(maxErrors, s.def.ValidateStatusUpdate(obj.(T), old.(T)))
}

// WarningsOnUpdate is silent: the spec is not this writer's.
func (statusStrategy[T, S, U]) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

var (
	_ rest.CreateUpdateResetFieldsStrategy = strategy[Object, any, any]{}
	_ rest.GarbageCollectionDeleteStrategy = strategy[Object, any, any]{}
	_ rest.UpdateResetFieldsStrategy       = statusStrategy[Object, any, any]{}
)
