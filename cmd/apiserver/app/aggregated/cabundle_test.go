package aggregated

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	testclock "k8s.io/utils/clock/testing"
)

// apiService returns an APIService with these fields of its spec.
func apiService(spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
		"metadata": map[string]any{"name": apiServiceName}, "spec": spec,
	}}
}

func newFake(objects ...runtime.Object) *fake.FakeDynamicClient {
	return fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{apiServices: "APIServiceList"}, objects...)
}

func bundleOf(content string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(content), nil }
}

func TestPublish(t *testing.T) {
	encoded := base64.StdEncoding.EncodeToString([]byte("new"))
	tests := []struct {
		name    string
		spec    map[string]any
		changed bool
	}{
		{name: "none yet", spec: map[string]any{"group": "arl.io"}, changed: true},
		{name: "another", spec: map[string]any{"caBundle": base64.StdEncoding.EncodeToString([]byte("old"))}, changed: true},
		{name: "trusts anybody", spec: map[string]any{"insecureSkipTLSVerify": true}, changed: true},
		{name: "the same", spec: map[string]any{"caBundle": encoded}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := newFake(apiService(tt.spec))
			changed, err := newPublisher(client, bundleOf("new"), nil).publish(t.Context())
			if err != nil || changed != tt.changed {
				t.Fatalf("changed %v, %v", changed, err)
			}
			got, err := client.Resource(apiServices).Get(t.Context(), apiServiceName, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if !isPublished(got, []byte("new")) {
				t.Errorf("got %v", got.Object["spec"])
			}
			if group, had := tt.spec["group"]; had && got.Object["spec"].(map[string]any)["group"] != group {
				t.Errorf("the rest is lost: %v", got.Object["spec"])
			}
		})
	}
}

func TestPublishWithoutAPIService(t *testing.T) {
	_, err := newPublisher(newFake(), bundleOf("new"), nil).publish(t.Context())
	if err == nil || !strings.Contains(err.Error(), "apply the manifests") {
		t.Errorf("got %v", err)
	}
}

// TestPublisherGoesOn has writing fail at first, and the bundle and the
// APIService change later.
func TestPublisherGoesOn(t *testing.T) {
	client := newFake(apiService(nil))
	failures := 3
	client.PrependReactor("patch", "apiservices", func(clienttesting.Action) (bool, runtime.Object, error) {
		if failures--; failures >= 0 {
			return true, nil, apierrors.NewForbidden(apiServices.GroupResource(), apiServiceName, nil)
		}
		return false, nil, nil
	})
	clk := testclock.NewFakeClock(time.Now())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		newPublisher(client, bundleOf("new"), clk).run(ctx)
	}()
	wantPublished := func(what string) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			got, err := client.Resource(apiServices).Get(t.Context(), apiServiceName, metav1.GetOptions{})
			if err == nil && isPublished(got, []byte("new")) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %v, %v", what, got, err)
			}
			if clk.HasWaiters() {
				clk.Step(lookPeriod)
			}
		}
	}
	wantPublished("after failures")
	if _, err := client.Resource(apiServices).Update(t.Context(), apiService(nil), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	wantPublished("after somebody has applied the manifest again")
	cancel()
	<-ended
}
