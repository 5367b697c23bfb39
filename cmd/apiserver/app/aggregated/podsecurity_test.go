package aggregated

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/cmd/apiserver/app/options"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// TestPodWarnings: what is judged is the pod that the server would create, not the template alone.
func TestPodWarnings(t *testing.T) {
	silent, asUser, privileged := corev1.PodSpec{}, corev1.PodSpec{}, corev1.PodSpec{}
	asUser.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](1000)}
	privileged.HostNetwork = true
	for _, spec := range []*corev1.PodSpec{&silent, &asUser, &privileged} {
		spec.Containers = []corev1.Container{{Name: "main", Image: "image"}}
	}
	tests := map[string]struct {
		labels map[string]string
		spec   corev1.PodSpec
		want   string
	}{
		"no label":               {nil, privileged, ""},
		"privileged":             {map[string]string{"pod-security.kubernetes.io/enforce": "privileged"}, privileged, ""},
		"baseline":               {map[string]string{"pod-security.kubernetes.io/enforce": "baseline"}, silent, ""},
		"baseline, host network": {map[string]string{"pod-security.kubernetes.io/enforce": "baseline"}, privileged, `"baseline:latest", which they violate: host namespaces`},
		"restricted":             {map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}, asUser, ""},
		"restricted, silent": {map[string]string{
			"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "v1.30",
		}, silent, `"restricted:v1.30", which they violate: `},
		"warn alone": {map[string]string{"pod-security.kubernetes.io/warn": "restricted"}, silent, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := &Mode{options: options.New()}
			got := m.podWarnings(tt.labels, &v1alpha1.WarmPool{
				ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "pool"},
				Spec:       v1alpha1.WarmPoolSpec{WorkDir: "/workspace", Template: corev1.PodTemplateSpec{Spec: tt.spec}},
			})
			if len(got) > 1 || (len(got) == 1) != (tt.want != "") || len(got) == 1 && !strings.Contains(got[0], tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
