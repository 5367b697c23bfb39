package kind

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/utils/clock"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"arl.io/arl/pkg/apis/arl"
)

// Category is the name by which "kubectl get" finds all kinds of the group.
const Category = "arl"

// Config is what every kind's storage needs from the server around it.
type Config struct {
	// Typer knows the group's internal types.
	Typer runtime.ObjectTyper
	// RESTOptions leads to the storage.
	RESTOptions generic.RESTOptionsGetter
	// Clock is what ages and durations in tables are reckoned with. The real
	// clock if nil.
	Clock clock.PassiveClock
	// Namespaces is asked before an object is created. It is nil where the
	// cluster does that.
	Namespaces NamespaceGuard
	// KeepsDependents says that no garbage collector runs: objects stay when their owners are deleted.
	KeepsDependents bool
	// Categories are further groups of resources that the kinds are found in.
	Categories []string
}

// REST serves the objects of one kind.
type REST struct {
	*genericregistry.Store
	shortNames []string
	categories []string
}

// StatusREST serves their status subresource. It shares the store of REST, and
// REST destroys it.
type StatusREST struct {
	store *genericregistry.Store
}

var (
	_ rest.StandardStorage      = (*REST)(nil)
	_ rest.ShortNamesProvider   = (*REST)(nil)
	_ rest.CategoriesProvider   = (*REST)(nil)
	_ rest.SingularNameProvider = (*REST)(nil)
	_ rest.Patcher              = (*StatusREST)(nil)
	_ rest.ResetFieldsStrategy  = (*StatusREST)(nil)
	_ rest.TableConvertor       = (*StatusREST)(nil)
)

// New makes the storage of a kind. It returns an error if the storage below
// cannot be had.
func New[T Object, S, U any](def Definition[T, S, U], cfg Config) (*REST, *StatusREST, error) {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	main := newStrategy(&def, cfg.Typer)
	main.keepsDependents = cfg.KeepsDependents
	store := &genericregistry.Store{
		NewFunc:                   func() runtime.Object { return def.New() },
		NewListFunc:               def.NewList,
		PredicateFunc:             def.predicate,
		DefaultQualifiedResource:  arl.Resource(def.Resource),
		SingularQualifiedResource: arl.Resource(def.Singular),
		CreateStrategy:            main,
		UpdateStrategy:            main,
		DeleteStrategy:            main,
		ResetFieldsStrategy:       main,
		TableConvertor:            NewTable(cfg.Clock, def.Columns...),
	}
	if cfg.Namespaces != nil {
		store.BeginCreate = inNamespace(cfg.Namespaces)
		cfg.RESTOptions = WrapStorage(cfg.RESTOptions, func(below storage.Interface) storage.Interface {
			return &guardedStorage{Interface: below, guard: cfg.Namespaces}
		})
	}
	err := store.CompleteWithOptions(&generic.StoreOptions{
		RESTOptions: cfg.RESTOptions,
		AttrFunc:    def.attributes,
		Indexers:    def.indexers(),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("set up the storage of %s: %w", def.Resource, err)
	}

	status := statusStrategy[T, S, U]{main}
	statusStore := *store
	statusStore.UpdateStrategy = status
	statusStore.ResetFieldsStrategy = status
	return &REST{Store: store, shortNames: def.ShortNames, categories: append([]string{Category}, cfg.Categories...)}, &StatusREST{store: &statusStore}, nil
}

// ShortNames are further names of the resource for command lines.
func (r *REST) ShortNames() []string { return r.shortNames }

// Categories are the groups of resources this one is found in.
func (r *REST) Categories() []string { return r.categories }

// New returns an empty object.
func (r *StatusREST) New() runtime.Object { return r.store.New() }

// Destroy does nothing: the store is destroyed with REST.
func (r *StatusREST) Destroy() {}

// Get returns the whole object.
func (r *StatusREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return r.store.Get(ctx, name, options)
}

// Update writes the status of an object that exists.
func (r *StatusREST) Update(ctx context.Context, name string, objInfo rest.UpdatedObjectInfo, createValidation rest.ValidateObjectFunc, updateValidation rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	// A status of nothing makes no sense: an apply must not create the object.
	return r.store.Update(ctx, name, objInfo, createValidation, updateValidation, false, options)
}

// GetResetFields names what a writer of the status cannot own.
func (r *StatusREST) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return r.store.GetResetFields()
}

// ConvertToTable prints what the main resource prints.
func (r *StatusREST) ConvertToTable(ctx context.Context, object, tableOptions runtime.Object) (*metav1.Table, error) {
	return r.store.ConvertToTable(ctx, object, tableOptions)
}
