package app

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/client-go/rest"

	"arl.io/arl/cmd/apiserver/app/modes"
	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/storage/bolt"
	"arl.io/arl/pkg/storage/kv"
)

// partsOf is what a mode may serve more with.
func partsOf(storage bolt.RESTOptionsConfig, self *rest.Config) modes.Parts {
	return modes.Parts{
		Storage: func(codec runtime.Codec, version schema.GroupVersion) (generic.RESTOptionsGetter, error) {
			other := storage
			other.Codec, other.StorageVersion = codec, version
			return bolt.NewRESTOptionsGetter(other)
		},
		StoredNamespaces: namespacesOf(storage.DB.Snapshot()),
		Self:             self,
	}
}

// namespacesOf returns the namespaces in which objects of ours are stored. A
// database of a server that had no namespaces yet has objects in some.
func namespacesOf(stored kv.Snapshot) []string {
	prefix := bolt.DefaultPrefix + "/" + arl.GroupName + "/"
	found := map[string]bool{}
	stored.Ascend(prefix, "", func(e kv.Entry) bool {
		// RESOURCE/NAMESPACE/NAME
		if parts := strings.Split(strings.TrimPrefix(e.Key, prefix), "/"); len(parts) == 3 {
			found[parts[1]] = true
		}
		return true
	})
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
