package apiserver

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// TestScaleIsItsOwnInternalVersion takes a Scale the way the request handlers
// do: to the internal version and back.
func TestScaleIsItsOwnInternalVersion(t *testing.T) {
	body := []byte(`{"kind":"Scale","apiVersion":"autoscaling/v1","metadata":{"name":"p"},"spec":{"replicas":3}}`)
	internal := schema.GroupVersion{Group: autoscalingv1.GroupName, Version: runtime.APIVersionInternal}
	info, ok := runtime.SerializerInfoForMediaType(Codecs.SupportedMediaTypes(), runtime.ContentTypeJSON)
	if !ok {
		t.Fatal("no JSON serializer")
	}
	obj, _, err := Codecs.DecoderToVersion(info.Serializer, internal).Decode(body, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	scale, ok := obj.(*autoscalingv1.Scale)
	if !ok || scale.Spec.Replicas != 3 {
		t.Fatalf("decoded %T %v", obj, obj)
	}
	out, err := runtime.Encode(Codecs.EncoderForVersion(info.Serializer, autoscalingv1.SchemeGroupVersion), scale)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), `"apiVersion":"autoscaling/v1"`) {
		t.Errorf("encoded %s", out)
	}
}

// storageStub gives out storages without content, and fails for one resource.
type storageStub struct {
	fails     string
	destroyed []string
}

var errNoDisk = errors.New("no disk")

func (s *storageStub) GetRESTOptions(resource schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	if resource.Resource == s.fails {
		return generic.RESTOptions{}, errNoDisk
	}
	config := storagebackend.NewDefaultConfig("/", nil).ForResource(resource)
	decorator := func(
		*storagebackend.ConfigForResource, string, func(runtime.Object) (string, error), func() runtime.Object,
		func() runtime.Object, storage.AttrFunc, storage.IndexerFuncs, *cache.Indexers,
	) (storage.Interface, factory.DestroyFunc, error) {
		return &emptyStorage{}, func() { s.destroyed = append(s.destroyed, resource.Resource) }, nil
	}
	return generic.RESTOptions{StorageConfig: config, Decorator: decorator, ResourcePrefix: resource.Resource}, nil
}

// emptyStorage is never asked anything.
type emptyStorage struct{ storage.Interface }

func (*emptyStorage) ReadinessCheck() error { return nil }

func newConfig(storage generic.RESTOptionsGetter) *Config {
	config := NewConfig("v0.0.0-test")
	config.GenericConfig.ExternalAddress = "127.0.0.1:443"
	config.GenericConfig.LoopbackClientConfig = &rest.Config{}
	config.GenericConfig.RESTOptionsGetter = storage
	return config
}

func TestNewNeedsStorage(t *testing.T) {
	if _, err := newConfig(nil).Complete().New(); err == nil || !strings.Contains(err.Error(), "RESTOptionsGetter") {
		t.Errorf("error %v, want one that names the missing RESTOptionsGetter", err)
	}
}

func TestNewLeavesNothingOpen(t *testing.T) {
	tests := map[string][]string{
		"warmpools": nil,
		"sandboxes": {"warmpools"},
		"tasks":     {"sandboxes", "warmpools"},
	}
	for fails, want := range tests {
		t.Run(fails, func(t *testing.T) {
			stub := &storageStub{fails: fails}
			_, err := newConfig(stub).Complete().New()
			if !errors.Is(err, errNoDisk) || !strings.Contains(err.Error(), fails) {
				t.Errorf("error %v, want %v of %s", err, errNoDisk, fails)
			}
			slices.Sort(stub.destroyed)
			if diff := cmp.Diff(want, stub.destroyed); diff != "" {
				t.Errorf("unexpected storages closed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestVersionIsOfKubernetesAndOurs(t *testing.T) {
	info := newEffectiveVersion("v1.2.3").Info()
	if info.Major != "1" || info.Minor == "0" || !strings.HasPrefix(info.GitVersion, "v1."+info.Minor+".") {
		t.Errorf("version %s.%s, %s: clients would find it older than any Kubernetes", info.Major, info.Minor, info.GitVersion)
	}
	if !strings.HasSuffix(info.GitVersion, "+arl-v1.2.3") {
		t.Errorf("gitVersion %s does not tell our version", info.GitVersion)
	}
}
