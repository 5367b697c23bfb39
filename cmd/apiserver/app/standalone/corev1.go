package standalone

import (
	"encoding/json"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/klog/v2"
)

// The little of the core API that kubectl asks every server for.
const (
	corePath = "/api"
	v1Path   = "/api/v1"
	// namespacesPath is where kubectl looks a namespace up.
	namespacesPath = "/api/v1/namespaces/"
)

// serveCoreV1 answers for the core API of a standalone server, which has none.
//
// It says that there is a version v1: kubectl takes the kind List, which it
// prints several objects as, from there, and could not read its own output
// otherwise. And it says that every namespace exists, since objects may be put
// into any: kubectl, told that an object is not there, asks whether its
// namespace is, and would report that answer instead of ours.
func serveCoreV1(server *genericapiserver.GenericAPIServer) {
	mux := server.Handler.NonGoRestfulMux
	mux.UnlistedHandle(corePath, answer(func(string) any {
		return &metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}}
	}))
	mux.UnlistedHandle(v1Path, answer(func(string) any {
		return &metav1.APIResourceList{
			TypeMeta:     metav1.TypeMeta{APIVersion: "v1", Kind: "APIResourceList"},
			GroupVersion: "v1",
			APIResources: []metav1.APIResource{
				{Name: "namespaces", SingularName: "namespace", Kind: "Namespace", Verbs: []string{"get"}},
			},
		}
	}))
	mux.UnlistedHandlePrefix(namespacesPath, answer(func(path string) any {
		name := strings.TrimPrefix(path, namespacesPath)
		if name == "" || strings.Contains(name, "/") {
			return nil
		}
		return &corev1.Namespace{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Status:     corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
		}
	}))
}

// answer serves GET with what object returns for a path; nil: not found.
func answer(object func(path string) any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var found any
		if r.Method == http.MethodGet {
			found = object(r.URL.Path)
		}
		if found == nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(found); err != nil {
			klog.FromContext(r.Context()).V(4).Info("Cannot answer", "path", r.URL.Path, "err", err)
		}
	})
}
