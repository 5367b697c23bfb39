// Package modes holds what the server hands to the mode that it runs in.
package modes

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/client-go/rest"
)

// Notes keeps small values beyond the process, where nobody but the server reads or writes them: beside
// the objects of the API, and in backups with them. All methods may be called concurrently.
type Notes interface {
	// List returns the values whose keys begin with a prefix, by the rest of their keys.
	List(prefix string) (map[string][]byte, error)
	// Put stores a value in place of any other of the key. It is durable when Put returns.
	Put(ctx context.Context, key string, value []byte) error
	// Delete drops a value. One that is not there is no error.
	Delete(ctx context.Context, key string) error
}

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
