package kstatus

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/generated/clientset/versioned"
	"arl.io/arl/test/harness"
	"arl.io/arl/test/space"
)

// newSpace returns a namespace of a server that runs for one test.
func newSpace(t *testing.T) *space.Space {
	t.Helper()
	binary := os.Getenv("ARL_BIN")
	if binary == "" {
		binary = filepath.Join("..", "..", "bin", "arl-apiserver")
	}
	binary, err := filepath.Abs(binary)
	if err != nil {
		t.Fatal(err)
	}
	// Not the test's own directory: its long name leaves no room for sockets.
	dir, err := os.MkdirTemp("", "arl-ks-")
	if err != nil {
		t.Fatal(err)
	}
	server, err := harness.New(harness.Config{Binary: binary, Dir: filepath.Join(dir, "data"), Args: []string{"--allow-host-image"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(server.Stop(), server.Purge(context.Background()), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	config, err := server.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	client, err := versioned.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &space.Space{
		T: t, Namespace: "default", Client: func() versioned.Interface { return client },
		Waiter: space.Waiter{Patience: 90 * time.Second, Pause: 20 * time.Millisecond},
	}
}

// want compares kstatus' word on an object, and that of the health check for Argo CD.
func want(t *testing.T, what string, obj runtime.Object, kind string, want status.Status) {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind(kind))
	got, err := status.Compute(u)
	if err != nil {
		t.Fatal(err)
	}
	if got.Status != want {
		t.Errorf("%s: %s: %s; want %s", what, got.Status, got.Message, want)
	}
	wantHealth(t, what, u, want)
}
