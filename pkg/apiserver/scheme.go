package apiserver

import (
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"arl.io/arl/pkg/apis/arl/install"
)

var (
	// Scheme knows every type that the server speaks.
	Scheme = runtime.NewScheme()
	// Codecs encode and decode them.
	Codecs = serializer.NewCodecFactory(Scheme)
)

// StorageCodec returns what objects are stored with: protobuf, of the given
// version. It also reads what was stored as JSON or YAML.
func StorageCodec(version schema.GroupVersion) (runtime.Codec, error) {
	info, ok := runtime.SerializerInfoForMediaType(Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	if !ok {
		return nil, fmt.Errorf("no serializer for %s", runtime.ContentTypeProtobuf)
	}
	return Codecs.CodecForVersions(info.Serializer, Codecs.UniversalDeserializer(), version, runtime.InternalGroupVersioner), nil
}

func init() {
	install.Install(Scheme)

	// The options of requests, and what every server answers with.
	unversioned := schema.GroupVersion{Version: "v1"}
	metav1.AddToGroupVersion(Scheme, unversioned)
	Scheme.AddUnversionedTypes(unversioned,
		&metav1.Status{},
		&metav1.APIVersions{},
		&metav1.APIGroupList{},
		&metav1.APIGroup{},
		&metav1.APIResourceList{},
	)

	// The scale subresource speaks autoscaling/v1. The request handlers go by
	// way of the internal version of whatever they decode; a Scale needs no
	// other form there, so the one type stands for both.
	Scheme.AddKnownTypes(autoscalingv1.SchemeGroupVersion, &autoscalingv1.Scale{})
	Scheme.AddKnownTypes(schema.GroupVersion{
		Group: autoscalingv1.GroupName, Version: runtime.APIVersionInternal,
	}, &autoscalingv1.Scale{})
}
