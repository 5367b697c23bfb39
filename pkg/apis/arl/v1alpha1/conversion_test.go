package v1alpha1_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return scheme
}

func TestFieldLabelsSupported(t *testing.T) {
	scheme := newScheme(t)
	for kind, labels := range map[string][]string{
		"WarmPool": {"metadata.name", "metadata.namespace"},
		"Sandbox":  {"metadata.name", "metadata.namespace", "spec.poolRef", "status.phase", "status.podName"},
		"Task":     {"metadata.name", "metadata.namespace", "spec.sandboxRef", "spec.poolRef", "status.state"},
	} {
		for _, label := range labels {
			t.Run(kind+"/"+label, func(t *testing.T) {
				gotLabel, gotValue, err := scheme.ConvertFieldLabel(v1alpha1.SchemeGroupVersion.WithKind(kind), label, "x")
				if err != nil {
					t.Fatal(err)
				}
				if gotLabel != label || gotValue != "x" {
					t.Errorf("got %s=%s, want %s=x", gotLabel, gotValue, label)
				}
			})
		}
	}
}

func TestFieldLabelsUnsupported(t *testing.T) {
	scheme := newScheme(t)
	for _, tc := range []struct {
		kind, label, want string
	}{
		{"WarmPool", "status.phase", `field selector "status.phase" is not supported for WarmPool: use one of metadata.name, metadata.namespace`},
		{"Sandbox", "status.nodeName", `field selector "status.nodeName" is not supported for Sandbox: use one of metadata.name, metadata.namespace, spec.poolRef, status.phase, status.podName`},
		{"Task", "status.phase", `field selector "status.phase" is not supported for Task: use one of metadata.name, metadata.namespace, spec.sandboxRef, spec.poolRef, status.state`},
	} {
		t.Run(tc.kind, func(t *testing.T) {
			_, _, err := scheme.ConvertFieldLabel(v1alpha1.SchemeGroupVersion.WithKind(tc.kind), tc.label, "x")
			if err == nil {
				t.Fatal("want an error")
			}
			if diff := cmp.Diff(tc.want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}
