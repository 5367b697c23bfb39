package app

import (
	"encoding/json"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/klog/v2"
)

// namespacesPath is where kubectl looks a namespace up.
const namespacesPath = "/api/v1/namespaces/"

// serveNamespaces answers that every namespace exists. A standalone server has
// no namespaces of its own: objects may be put into any. kubectl, told that an
// object is not there, asks whether its namespace is, and would report that
// answer instead of ours.
func serveNamespaces(server *genericapiserver.GenericAPIServer) {
	server.Handler.NonGoRestfulMux.UnlistedHandlePrefix(namespacesPath, http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			name := strings.TrimPrefix(r.URL.Path, namespacesPath)
			if r.Method != http.MethodGet || name == "" || strings.Contains(name, "/") {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			err := json.NewEncoder(w).Encode(&corev1.Namespace{
				TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
				ObjectMeta: metav1.ObjectMeta{Name: name},
				Status:     corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
			})
			if err != nil {
				klog.FromContext(r.Context()).V(4).Info("Cannot answer", "path", r.URL.Path, "err", err)
			}
		}))
}
