// Package modes holds what the server hands to the mode that it runs in.
package modes

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/client-go/rest"
)

// Parts are parts of the server that a mode may serve more with.
type Parts struct {
	// Storage leads to the database, for objects that are stored with a codec in
	// a version.
	Storage func(codec runtime.Codec, version schema.GroupVersion) (generic.RESTOptionsGetter, error)
	// StoredNamespaces are those in which objects of arl.io are stored.
	StoredNamespaces []string
	// Self is the configuration of a client that is the server itself.
	Self *rest.Config
}
