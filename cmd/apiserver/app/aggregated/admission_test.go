package aggregated

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"arl.io/arl/cmd/apiserver/app/options"
)

func TestLeaveOutMissing(t *testing.T) {
	version := func(resources ...string) *metav1.APIResourceList {
		list := &metav1.APIResourceList{GroupVersion: policyVersion}
		for _, name := range resources {
			list.APIResources = append(list.APIResources, metav1.APIResource{Name: name})
		}
		return list
	}
	const mutating, validating = "MutatingAdmissionPolicy", "ValidatingAdmissionPolicy"
	tests := []struct {
		name    string
		cluster *metav1.APIResourceList
		enabled []string
		want    []string
	}{
		{name: "has all", cluster: version("mutatingadmissionpolicies", "validatingadmissionpolicies")},
		{name: "has one", cluster: version("validatingadmissionpolicies"), want: []string{mutating}},
		{name: "asked for", cluster: version("validatingadmissionpolicies"), enabled: []string{mutating}},
		{name: "has none", cluster: version(), want: []string{mutating, validating}},
		{name: "not even the version", cluster: &metav1.APIResourceList{GroupVersion: "v1"}, want: []string{mutating, validating}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := fake.NewClientset()
			client.Resources = []*metav1.APIResourceList{tt.cluster}
			o := options.New().Cluster.Admission
			o.EnablePlugins = tt.enabled
			if err := leaveOutMissing(t.Context(), client.Discovery(), o); err != nil {
				t.Fatal(err)
			}
			slices.Sort(o.DisablePlugins)
			if !slices.Equal(o.DisablePlugins, tt.want) {
				t.Errorf("left out %v, want %v", o.DisablePlugins, tt.want)
			}
		})
	}
}
