package manifests

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// helmLabels are those that Helm's users expect, and kustomize's do not.
var helmLabels = []string{
	"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart",
}

// TestChartIsTheKustomization compares object by object.
func TestChartIsTheKustomization(t *testing.T) {
	want := kustomize(t, kustomizeDir)
	if len(want) < 10 {
		t.Fatalf("the kustomization has %d objects", len(want))
	}
	compare(t, want, withoutHelmLabels(t, mustRender(t, "namespace: {create: true}")))
}

// TestChartLeavesTheNamespaceToHelm: Helm needs it before, and refuses to take
// over what it has not made.
func TestChartLeavesTheNamespaceToHelm(t *testing.T) {
	want := kustomize(t, kustomizeDir)
	delete(want, "Namespace/"+systemNamespace)
	compare(t, want, withoutHelmLabels(t, mustRender(t, "")))
}

// TestChartHasWhatPoolsNeed compares what each namespace with pools gets.
func TestChartHasWhatPoolsNeed(t *testing.T) {
	without := mustRender(t, "")
	got := mustRender(t, "poolNamespaces: [team-a, team-b]")
	maps.DeleteFunc(got, func(key string, _ *unstructured.Unstructured) bool { return without[key] != nil })
	want := objects{}
	for _, namespace := range []string{"team-a", "team-b"} {
		for _, dir := range []string{poolNetworkDir, poolBudgetDir} {
			for _, object := range kustomize(t, dir) {
				// As kubectl apply -n does.
				object.SetNamespace(namespace)
				want[keyOf(object)] = object
			}
		}
	}
	compare(t, want, withoutHelmLabels(t, got))
}

// TestVersionsAgree: the chart and the kustomization name the same image.
func TestVersionsAgree(t *testing.T) {
	metadata := loadChart(t).Metadata
	if metadata.AppVersion != "v"+metadata.Version {
		t.Errorf("the chart's appVersion is %q, its version %q", metadata.AppVersion, metadata.Version)
	}
	image := imageOf(t, kustomize(t, kustomizeDir))
	if !strings.HasSuffix(image, ":"+metadata.AppVersion) {
		t.Errorf("the kustomization deploys %s, the chart %s", image, metadata.AppVersion)
	}
}

func compare(t *testing.T, want, got objects) {
	t.Helper()
	names := func(all objects) []string { return slices.Sorted(maps.Keys(all)) }
	if diff := cmp.Diff(names(want), names(got)); diff != "" {
		t.Errorf("objects of the kustomization (-) and the chart (+):\n%s", diff)
	}
	for key, object := range want {
		if got[key] == nil {
			continue
		}
		if diff := cmp.Diff(object.Object, got[key].Object); diff != "" {
			t.Errorf("%s of the kustomization (-) and the chart (+):\n%s", key, diff)
		}
	}
}

// withoutHelmLabels takes Helm's labels away from the objects. They must be
// there, and may not be anywhere else: templates of pods and claims would change
// with each version of the chart.
func withoutHelmLabels(t *testing.T, all objects) objects {
	t.Helper()
	for key, object := range all {
		labels := object.GetLabels()
		for _, label := range helmLabels {
			if labels[label] == "" {
				t.Errorf("%s lacks the label %s", key, label)
			}
			delete(labels, label)
		}
		object.SetLabels(labels)
	}
	return all
}

func imageOf(t *testing.T, all objects) string {
	t.Helper()
	value, found := valueAt(all["StatefulSet/arl-apiserver"].Object, "spec.template.spec.containers.0.image")
	image, isString := value.(string)
	if !found || !isString {
		t.Fatalf("the StatefulSet has the image %v", value)
	}
	return image
}
