package install_test

import (
	"math/rand"
	"testing"

	"github.com/google/go-cmp/cmp"
	apifuzzer "k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/apitesting/roundtrip"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	"k8s.io/apimachinery/pkg/runtime"
	runtimeserializer "k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/sets"

	"arl.io/arl/pkg/apis/arl/fuzzer"
	"arl.io/arl/pkg/apis/arl/install"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// TestRoundTrip encodes and decodes random objects of every kind and version,
// and wants them back unchanged.
func TestRoundTrip(t *testing.T) {
	roundtrip.RoundTripProtobufTestForAPIGroup(t, install.Install, fuzzer.Funcs)
}

// TestRoundTripToUnstructured does the same by way of unstructured objects,
// which is how kubectl and server-side apply see them. The options kinds that
// every group version carries are not ours and have no internal version.
func TestRoundTripToUnstructured(t *testing.T) {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	options := sets.New(
		v1alpha1.SchemeGroupVersion.WithKind("CreateOptions"),
		v1alpha1.SchemeGroupVersion.WithKind("PatchOptions"),
		v1alpha1.SchemeGroupVersion.WithKind("UpdateOptions"),
	)
	roundtrip.RoundtripToUnstructured(t, scheme, apifuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, fuzzer.Funcs), options, nil)
}

// TestDefaultsIdempotent wants defaulting of something defaulted to change
// nothing, and conversion to the internal version and back to lose none of it.
func TestDefaultsIdempotent(t *testing.T) {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	codecs := runtimeserializer.NewCodecFactory(scheme)
	filler := apifuzzer.FuzzerFor(apifuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, fuzzer.Funcs), rand.NewSource(1), codecs)

	for _, kind := range []string{"WarmPool", "WarmPoolList", "Sandbox", "SandboxList", "Task", "TaskList"} {
		t.Run(kind, func(t *testing.T) {
			for range 50 {
				once, err := scheme.New(v1alpha1.SchemeGroupVersion.WithKind(kind))
				if err != nil {
					t.Fatal(err)
				}
				filler.Fill(once)
				scheme.Default(once)

				twice := once.DeepCopyObject()
				scheme.Default(twice)
				if diff := cmp.Diff(once, twice); diff != "" {
					t.Fatalf("defaulting again changed the object (-once +twice):\n%s", diff)
				}

				hub, err := scheme.ConvertToVersion(once, runtime.InternalGroupVersioner)
				if err != nil {
					t.Fatal(err)
				}
				back, err := scheme.ConvertToVersion(hub, v1alpha1.SchemeGroupVersion)
				if err != nil {
					t.Fatal(err)
				}
				once.GetObjectKind().SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind(kind))
				if !apiequality.Semantic.DeepEqual(once, back) {
					t.Fatalf("conversion changed the object (-versioned +back):\n%s", cmp.Diff(once, back))
				}
			}
		})
	}
}
