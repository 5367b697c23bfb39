package podspec

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// restricted is what a container gets whose template says nothing.
var restricted = &corev1.SecurityContext{
	AllowPrivilegeEscalation: ptr.To(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
}

// with returns restricted with a change.
func with(change func(*corev1.SecurityContext)) *corev1.SecurityContext {
	changed := restricted.DeepCopy()
	change(changed)
	return changed
}

var (
	runtimeDefault = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	unconfined     = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
)

func TestSecurity(t *testing.T) {
	for _, tt := range []struct {
		name    string
		pod     *corev1.PodSecurityContext
		own     *corev1.SecurityContext
		nonRoot bool
		wantPod *corev1.PodSecurityContext
		wantOwn *corev1.SecurityContext
	}{
		{name: "nothing said", wantPod: &corev1.PodSecurityContext{SeccompProfile: runtimeDefault}, wantOwn: restricted},
		{
			name: "nothing said, root not wanted", nonRoot: true,
			wantPod: &corev1.PodSecurityContext{SeccompProfile: runtimeDefault},
			wantOwn: with(func(s *corev1.SecurityContext) { s.RunAsNonRoot = ptr.To(true) }),
		},
		{
			name: "root asked for, root not wanted", nonRoot: true,
			pod:     &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](0)},
			wantPod: &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](0), SeccompProfile: runtimeDefault},
			wantOwn: restricted,
		},
		{
			name:    "own seccomp profile",
			pod:     &corev1.PodSecurityContext{SeccompProfile: unconfined},
			wantPod: &corev1.PodSecurityContext{SeccompProfile: unconfined}, wantOwn: restricted,
		},
		{
			name:    "privileged",
			own:     &corev1.SecurityContext{Privileged: ptr.To(true)},
			wantPod: &corev1.PodSecurityContext{}, wantOwn: &corev1.SecurityContext{Privileged: ptr.To(true)},
		},
		{
			name:    "privilege escalation asked for",
			own:     &corev1.SecurityContext{AllowPrivilegeEscalation: ptr.To(true)},
			wantPod: &corev1.PodSecurityContext{SeccompProfile: runtimeDefault},
			wantOwn: with(func(s *corev1.SecurityContext) { s.AllowPrivilegeEscalation = ptr.To(true) }),
		},
		{
			name:    "one capability added",
			own:     &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"CHOWN"}}},
			wantPod: &corev1.PodSecurityContext{SeccompProfile: runtimeDefault},
			wantOwn: with(func(s *corev1.SecurityContext) { s.Capabilities.Add = []corev1.Capability{"CHOWN"} }),
		},
		{
			name:    "a capability that rules out a default",
			own:     &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"SYS_ADMIN"}}},
			wantPod: &corev1.PodSecurityContext{SeccompProfile: runtimeDefault},
			wantOwn: with(func(s *corev1.SecurityContext) {
				s.Capabilities.Add, s.AllowPrivilegeEscalation = []corev1.Capability{"SYS_ADMIN"}, nil
			}),
		},
		{
			name:    "no capability dropped, on purpose",
			own:     &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{}}},
			wantPod: &corev1.PodSecurityContext{SeccompProfile: runtimeDefault},
			wantOwn: with(func(s *corev1.SecurityContext) { s.Capabilities.Drop = []corev1.Capability{} }),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec := specOf(corev1.Container{Name: "a", Image: "i", SecurityContext: tt.own})
			spec.Template.Spec.SecurityContext = tt.pod
			config := agent
			config.NonRoot = tt.nonRoot
			pod, err := Build(spec, config)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.wantPod, pod.Spec.SecurityContext); diff != "" {
				t.Errorf("pod: -want +got:\n%s", diff)
			}
			if diff := cmp.Diff(tt.wantOwn, pod.Spec.Containers[0].SecurityContext); diff != "" {
				t.Errorf("container: -want +got:\n%s", diff)
			}
			if diff := cmp.Diff(setupSecurity(), pod.Spec.InitContainers[0].SecurityContext); diff != "" {
				t.Errorf("setup container: -want +got:\n%s", diff)
			}
		})
	}
}

func TestWorkDirOfOtherUsers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		pod    *corev1.PodSecurityContext
		own    *corev1.SecurityContext
		mounts []corev1.VolumeMount
		want   bool
	}{
		{name: "nothing said"},
		{name: "a user", pod: &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](1000)}, want: true},
		{name: "not root", pod: &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true)}, want: true},
		{name: "root in this container", pod: &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](1000)},
			own: &corev1.SecurityContext{RunAsUser: ptr.To[int64](0)}},
		{name: "its own volume", pod: &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](1000)},
			mounts: []corev1.VolumeMount{{Name: "v", MountPath: "/work/a/"}}},
		{name: "a volume above", pod: &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](1000)},
			mounts: []corev1.VolumeMount{{Name: "v", MountPath: "/work"}}},
		{name: "a volume elsewhere", pod: &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](1000)},
			mounts: []corev1.VolumeMount{{Name: "v", MountPath: "/wor"}}, want: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec := specOf(corev1.Container{Name: "a", Image: "i", SecurityContext: tt.own, VolumeMounts: tt.mounts})
			spec.Template.Spec.SecurityContext = tt.pod
			spec.WorkDir = "/work/a"
			pod := build(t, spec)
			got := slices.ContainsFunc(pod.Spec.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool {
				return m.Name == WorkVolume && m.MountPath == "/work/a"
			})
			if got != tt.want {
				t.Errorf("a volume for the work directory: %v, want %v", got, tt.want)
			}
		})
	}
}
