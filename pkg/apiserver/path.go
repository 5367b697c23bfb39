package apiserver

import (
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// maxShownName bounds what an error repeats of a name that is none.
const maxShownName = 80

// gvOf returns the group and version that a request is for.
func gvOf(info *request.RequestInfo) schema.GroupVersion {
	return schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion}
}

// oddPath returns what a request for an object is answered with whose path names no object that can
// be. The handlers check names; a namespace that is none would reach the storage, as part of a key, and
// an escaped slash would turn the name of an object into the path of a collection.
func oddPath(r *http.Request, info *request.RequestInfo) *apierrors.StatusError {
	if !info.IsResourceRequest {
		return nil
	}
	switch {
	case strings.Contains(r.URL.Path, "//"):
		return apierrors.NewBadRequest("the path has an empty part (//): is the name of a namespace or an object missing?")
	case strings.Contains(strings.ToLower(r.URL.EscapedPath()), "%2f"):
		return apierrors.NewBadRequest("the path has an escaped slash (%2F): names of objects and namespaces have none")
	case !utf8.ValidString(r.URL.Path), strings.ContainsFunc(r.URL.Path, unicode.IsControl):
		return apierrors.NewBadRequest("the path has bytes that are not text: names of objects and namespaces consist of letters, digits, '-' and '.'")
	}
	if messages := validation.IsDNS1123Label(info.Namespace); info.Namespace != "" && len(messages) > 0 {
		return apierrors.NewBadRequest(fmt.Sprintf("namespace %q: is not the name of a namespace: %s", shown(info.Namespace), messages[0]))
	}
	return nil
}

func shown(name string) string {
	if len(name) <= maxShownName {
		return name
	}
	return strings.ToValidUTF8(name[:maxShownName], "") + "…"
}
