// Package core holds what the registries of Kubernetes' own kinds have in
// common: the scheme that knows these kinds, and its codecs. A standalone server
// serves the few of them that kubectl and generic clients expect of any
// Kubernetes. In a cluster the cluster serves them.
//
//	namespace  stored objects that hold ours
//	pod        the pods of the machine, read-only, and their logs
//	event      a list without entries
//	review     what may I do, and who am I
//
// The scheme is the package's only global, and is never changed after init. Read
// scheme.go first, then namespace/strategy.go and pod/feed.go.
package core

import (
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

var (
	// Scheme knows the types of the core group that are served, and of the
	// groups of reviews.
	Scheme = runtime.NewScheme()
	// Codecs encode and decode them.
	Codecs = serializer.NewCodecFactory(Scheme)
	// ParameterCodec decodes the query parameters of their subresources.
	ParameterCodec = runtime.NewParameterCodec(Scheme)
)

// StorageCodec returns what objects are stored with: protobuf, as v1.
func StorageCodec() (runtime.Codec, error) {
	info, ok := runtime.SerializerInfoForMediaType(Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	if !ok {
		return nil, fmt.Errorf("no serializer for %s", runtime.ContentTypeProtobuf)
	}
	return Codecs.CodecForVersions(info.Serializer, Codecs.UniversalDeserializer(), corev1.SchemeGroupVersion, runtime.InternalGroupVersioner), nil
}

// add registers types under their version and, because the handlers of requests
// go by way of the internal version of what they decode, under that as well. The
// kinds here need no other form inside the server.
func add(version schema.GroupVersion, types ...runtime.Object) {
	Scheme.AddKnownTypes(version, types...)
	Scheme.AddKnownTypes(schema.GroupVersion{Group: version.Group, Version: runtime.APIVersionInternal}, types...)
	metav1.AddToGroupVersion(Scheme, version)
}

func init() {
	add(corev1.SchemeGroupVersion,
		&corev1.Namespace{}, &corev1.NamespaceList{},
		&corev1.Pod{}, &corev1.PodList{}, &corev1.PodLogOptions{},
		&corev1.Event{}, &corev1.EventList{},
	)
	add(authorizationv1.SchemeGroupVersion,
		&authorizationv1.SelfSubjectAccessReview{}, &authorizationv1.SelfSubjectRulesReview{})
	add(authenticationv1.SchemeGroupVersion, &authenticationv1.SelfSubjectReview{})
	Scheme.AddUnversionedTypes(schema.GroupVersion{Version: "v1"},
		&metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
	for kind, labels := range selectable {
		err := Scheme.AddFieldLabelConversionFunc(corev1.SchemeGroupVersion.WithKind(kind), onlyLabels(labels))
		if err != nil {
			panic(err) // the version was registered above
		}
	}
	if err := addLogOptions(Scheme); err != nil {
		panic(err) // the conversion's types are fixed
	}
}
