package podspec

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// TestWorkVolume shows which pods get a volume for the work directory: all whose user may not be able
// to make it in the image.
func TestWorkVolume(t *testing.T) {
	user := func(uid int64) *corev1.PodSecurityContext { return &corev1.PodSecurityContext{RunAsUser: ptr.To(uid)} }
	mounts := func(at string) []corev1.VolumeMount { return []corev1.VolumeMount{{Name: "v", MountPath: at}} }
	for _, tt := range []struct {
		name   string
		pod    *corev1.PodSecurityContext
		own    *corev1.SecurityContext
		mounts []corev1.VolumeMount
		known  bool
		want   bool
	}{
		{name: "the image's user", want: true},
		{name: "the image's user, known to need none", known: true},
		{name: "a user", pod: user(1000), want: true},
		{name: "not root", pod: &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true)}, want: true},
		{name: "root", pod: user(0)},
		{name: "root in this container", pod: user(1000), own: &corev1.SecurityContext{RunAsUser: ptr.To[int64](0)}},
		{name: "root that cannot write in its root file system", pod: user(0),
			own: &corev1.SecurityContext{ReadOnlyRootFilesystem: ptr.To(true)}, want: true},
		{name: "its own volume", pod: user(1000), mounts: mounts("/work/a/")},
		{name: "a volume above", pod: user(1000), mounts: mounts("/work")},
		{name: "a volume elsewhere", pod: user(1000), mounts: mounts("/wor"), want: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec := specOf(corev1.Container{Name: "a", Image: "i", SecurityContext: tt.own, VolumeMounts: tt.mounts})
			spec.Template.Spec.SecurityContext = tt.pod
			spec.WorkDir = "/work/a"
			config := agent
			config.OwnWorkDir = tt.known
			pod, err := Build(spec, config)
			if err != nil {
				t.Fatal(err)
			}
			got := slices.ContainsFunc(pod.Spec.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool {
				return m.Name == WorkVolume && m.MountPath == "/work/a" && m.SubPath == "work"
			})
			if got != tt.want {
				t.Errorf("a volume for the work directory: %v, want %v", got, tt.want)
			}
			i := slices.IndexFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == WorkDirContainer })
			if (i >= 0) != tt.want {
				t.Fatalf("the init container for the work directory: %d, want %v", i, tt.want)
			}
			if tt.want {
				// Only then does it find out the right user, and run wherever the executor may.
				if diff := cmp.Diff(pod.Spec.Containers[0].SecurityContext, pod.Spec.InitContainers[i].SecurityContext); diff != "" {
					t.Errorf("its security context is not the executor's: -executor +init:\n%s", diff)
				}
			}
		})
	}
}
