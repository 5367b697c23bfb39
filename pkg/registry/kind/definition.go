// Package kind holds what the registries of all kinds of the arl.io group have
// in common: the split of spec and status, when a generation grows, field
// selectors and their indexes, table printing, and one store behind a kind's
// main and status endpoints. What sets a kind apart is said in a Definition,
// which lives in the kind's own package.
//
// It holds no locks: everything here runs on the goroutine of a request, and a
// Definition is never changed after New. The one goroutine is the generic
// store's, which counts objects for metrics from New until REST.Destroy; so
// nothing of a store may be changed once New has returned.
//
// Read definition.go first, then strategy.go and storage.go.
package kind

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Object is a pointer to a type that has object metadata.
type Object interface {
	runtime.Object
	metav1.Object
}

// Definition is what sets one kind apart from the others. T is the pointer to
// its internal type, S and U are its spec and its status. Only Fields, Finalizer,
// CascadesItself and MaxNameLength may be empty, and no function changes its arguments.
type Definition[T Object, S, U any] struct {
	// Resource and Singular are the names in URLs and on command lines.
	Resource, Singular string
	// ShortNames are further names for command lines.
	ShortNames []string

	// New and NewList return an empty object and an empty list.
	New     func() T
	NewList func() runtime.Object
	// Spec and Status point into the object.
	Spec   func(T) *S
	Status func(T) *U

	// Finalizer, if not empty, is on every object from its creation until whoever looks after the kind
	// removes it, which is after the object was deleted.
	Finalizer string
	// CascadesItself says that whoever looks after the kind deletes what an object owns, in its own
	// time: the garbage collector is never asked to do so before the object is gone.
	CascadesItself bool

	// InitialStatus is what the status of a new object is set to, whatever its
	// author wrote there. Metadata is complete when it is called.
	InitialStatus func(T) U
	// Validate checks a new object, ValidateUpdate a changed spec or metadata,
	// and ValidateStatusUpdate a changed status.
	Validate             func(obj T) field.ErrorList
	ValidateUpdate       func(obj, old T) field.ErrorList
	ValidateStatusUpdate func(obj, old T) field.ErrorList
	// MaxNameLength is how long a name may be that Validate accepts; 0 means 63, as of a DNS label.
	// Generated names are cut to fit.
	MaxNameLength int
	// Warnings tells the author of a spec, in at most 120 characters each, what
	// is allowed but hardly meant.
	Warnings func(obj T) []string

	// Fields can be selected by, besides metadata.name and metadata.namespace.
	Fields []Field[T]
	// Columns are what a table shows between the name and the age.
	Columns []Column[T]
}
