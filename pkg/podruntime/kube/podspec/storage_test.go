package podspec

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// TestStorageLimit: an executor has the server's limit of ephemeral-storage unless its template says
// something else. The default asks the node for nothing.
func TestStorageLimit(t *testing.T) {
	storage := func(quantity string) corev1.ResourceList {
		if quantity == "" {
			return nil
		}
		return corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse(quantity)}
	}
	for name, test := range map[string]struct {
		limit          string
		template, want corev1.ResourceRequirements
	}{
		"silent template": {"10Gi", corev1.ResourceRequirements{}, corev1.ResourceRequirements{Limits: storage("10Gi"), Requests: storage("0")}},
		"limit":           {"10Gi", corev1.ResourceRequirements{Limits: storage("1Gi")}, corev1.ResourceRequirements{Limits: storage("1Gi")}},
		"request":         {"10Gi", corev1.ResourceRequirements{Requests: storage("1Gi")}, corev1.ResourceRequirements{Limits: storage("10Gi"), Requests: storage("1Gi")}},
		"large request":   {"10Gi", corev1.ResourceRequirements{Requests: storage("20Gi")}, corev1.ResourceRequirements{Requests: storage("20Gi")}},
		"no default":      {"0", corev1.ResourceRequirements{}, corev1.ResourceRequirements{}},
	} {
		t.Run(name, func(t *testing.T) {
			with := agent
			with.StorageLimit = resource.MustParse(test.limit)
			pod, err := Build(specOf(corev1.Container{Name: "executor", Image: "python", Resources: test.template}), with)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, pod.Spec.Containers[0].Resources); diff != "" {
				t.Errorf("resources (-want +got):\n%s", diff)
			}
			for _, c := range pod.Spec.InitContainers {
				if _, given := c.Resources.Limits[corev1.ResourceEphemeralStorage]; given {
					t.Errorf("init container %s has a limit of its own", c.Name)
				}
			}
		})
	}
}
