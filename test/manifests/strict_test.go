package manifests

import (
	"sync"
	"testing"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes/scheme"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/install"
	"arl.io/arl/pkg/apis/arl/validation"
)

// codecs know every kind that comes out: ours, Kubernetes' own, and those of
// others that the chart makes on demand. They refuse fields that a kind has not.
var codecs = sync.OnceValue(func() serializer.CodecFactory {
	all := runtime.NewScheme()
	utilruntime.Must(scheme.AddToScheme(all))
	utilruntime.Must(apiregistrationv1.AddToScheme(all))
	utilruntime.Must(certmanagerv1.AddToScheme(all))
	utilruntime.Must(monitoringv1.AddToScheme(all))
	install.Install(all)
	return serializer.NewCodecFactory(all, serializer.EnableStrict)
})

// decode turns an object into what Kubernetes takes it for.
func decode(t *testing.T, object *unstructured.Unstructured, decoder runtime.Decoder) runtime.Object {
	t.Helper()
	encoded, err := object.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	typed, err := runtime.Decode(decoder, encoded)
	if err != nil {
		t.Fatalf("%s: %v", keyOf(object), err)
	}
	return typed
}

// decoded is the object of a name as the type that it has.
func decoded[T runtime.Object](t *testing.T, all objects, key string) T {
	t.Helper()
	if all[key] == nil {
		t.Fatalf("there is no %s", key)
	}
	typed, ok := decode(t, all[key], codecs().UniversalDeserializer()).(T)
	if !ok {
		t.Fatalf("%s is a %T", key, typed)
	}
	return typed
}

// TestObjectsAreWhatTheySay decodes everything that can come out.
func TestObjectsAreWhatTheySay(t *testing.T) {
	rendered := map[string]objects{
		"kustomization":    kustomize(t, kustomizeDir),
		"network of pools": kustomize(t, poolNetworkDir),
		"budget of pools":  kustomize(t, poolBudgetDir),
		"chart":            mustRender(t, ""),
	}
	for name, tt := range effects {
		rendered["chart with "+name] = mustRender(t, tt.values)
	}
	for name, all := range rendered {
		t.Run(name, func(t *testing.T) {
			for _, object := range all {
				decode(t, object, codecs().UniversalDeserializer())
			}
		})
	}
}

// TestExamplesAreValid asks the API's own validation.
func TestExamplesAreValid(t *testing.T) {
	for _, file := range []string{"kubernetes.yaml", "pool.yaml", "sandbox.yaml", "tasks.yaml"} {
		for _, object := range examples(t, file) {
			t.Run(file+" "+keyOf(object), func(t *testing.T) {
				object.SetNamespace("default")
				// Into the internal version, with defaults, as the server does.
				var errs field.ErrorList
				switch typed := decode(t, object, codecs().UniversalDecoder(arl.SchemeGroupVersion)).(type) {
				case *arl.WarmPool:
					errs = validation.ValidateWarmPool(typed)
				case *arl.Sandbox:
					errs = validation.ValidateSandbox(typed)
				case *arl.Task:
					errs = validation.ValidateTask(typed)
				default:
					t.Errorf("is a %T", typed)
				}
				if err := errs.ToAggregate(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
