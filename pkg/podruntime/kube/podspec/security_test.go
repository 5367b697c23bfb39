package podspec

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/podruntime"
)

// standard is what a container gets whose template says nothing; restricted is what it gets whose
// template asks for another user than root.
var (
	standard   = &corev1.SecurityContext{AllowPrivilegeEscalation: ptr.To(false)}
	restricted = &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
)

// with returns standard with a change.
func with(change func(*corev1.SecurityContext)) *corev1.SecurityContext {
	changed := standard.DeepCopy()
	change(changed)
	return changed
}

var (
	runtimeDefault = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	unconfined     = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
)

var securityTests = []struct {
	name    string
	pod     *corev1.PodSecurityContext
	own     *corev1.SecurityContext
	nonRoot bool
	wantPod *corev1.PodSecurityContext
	wantOwn *corev1.SecurityContext
}{
	{name: "nothing said", wantPod: &corev1.PodSecurityContext{SeccompProfile: runtimeDefault}, wantOwn: standard},
	{
		name: "nothing said, root not wanted", nonRoot: true,
		wantPod: &corev1.PodSecurityContext{SeccompProfile: runtimeDefault},
		wantOwn: with(func(s *corev1.SecurityContext) {
			s.RunAsNonRoot, s.Capabilities = ptr.To(true), restricted.Capabilities
		}),
	},
	{
		name: "root asked for, root not wanted", nonRoot: true,
		pod:     &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](0)},
		wantPod: &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](0), SeccompProfile: runtimeDefault},
		wantOwn: standard,
	},
	{
		name:    "another user, as the restricted standard wants",
		pod:     &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](1000), RunAsNonRoot: ptr.To(true)},
		wantPod: &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](1000), RunAsNonRoot: ptr.To(true), SeccompProfile: runtimeDefault},
		wantOwn: restricted,
	},
	{
		name:    "own seccomp profile",
		pod:     &corev1.PodSecurityContext{SeccompProfile: unconfined},
		wantPod: &corev1.PodSecurityContext{SeccompProfile: unconfined}, wantOwn: standard,
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
		name:    "widened",
		own:     &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"SYS_PTRACE"}}},
		wantPod: &corev1.PodSecurityContext{SeccompProfile: runtimeDefault},
		wantOwn: with(func(s *corev1.SecurityContext) {
			s.Capabilities = &corev1.Capabilities{Add: []corev1.Capability{"SYS_PTRACE"}}
		}),
	},
	{
		name:    "narrowed",
		own:     &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"NET_RAW"}}},
		wantPod: &corev1.PodSecurityContext{SeccompProfile: runtimeDefault},
		wantOwn: with(func(s *corev1.SecurityContext) {
			s.Capabilities = &corev1.Capabilities{Drop: []corev1.Capability{"NET_RAW"}}
		}),
	},
	{
		name:    "a capability that rules out a default",
		own:     &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"SYS_ADMIN"}}},
		wantPod: &corev1.PodSecurityContext{SeccompProfile: runtimeDefault},
		wantOwn: &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"SYS_ADMIN"}}},
	},
}

func TestSecurity(t *testing.T) {
	for _, tt := range securityTests {
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

// TestCapabilitiesSurviveStorage has the storage encode and decode a template: what the pod gets must
// not depend on a difference that an encoding loses, such as an empty list and none.
func TestCapabilitiesSurviveStorage(t *testing.T) {
	for _, wanted := range []*corev1.Capabilities{
		nil, {}, {Drop: []corev1.Capability{}}, {Add: []corev1.Capability{}, Drop: []corev1.Capability{}},
		{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"CHOWN"}},
	} {
		for _, user := range []*int64{nil, ptr.To[int64](0), ptr.To[int64](1000)} {
			spec := specOf(corev1.Container{Name: "a", Image: "i", SecurityContext: &corev1.SecurityContext{RunAsUser: user, Capabilities: wanted}})
			want := podruntime.Capabilities(build(t, spec).Spec.Containers[0].SecurityContext.Capabilities)
			for name, transcode := range map[string]func(from, to *corev1.PodTemplateSpec) error{
				"JSON": func(from, to *corev1.PodTemplateSpec) error {
					data, err := json.Marshal(from)
					if err != nil {
						return err
					}
					return json.Unmarshal(data, to)
				},
				"protobuf": func(from, to *corev1.PodTemplateSpec) error {
					data, err := from.Marshal()
					if err != nil {
						return err
					}
					return to.Unmarshal(data)
				},
			} {
				stored := &corev1.PodTemplateSpec{}
				if err := transcode(spec.Template, stored); err != nil {
					t.Fatal(err)
				}
				after := spec
				after.Template = stored
				got := podruntime.Capabilities(build(t, after).Spec.Containers[0].SecurityContext.Capabilities)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%+v of user %v changes in %s: -want +got:\n%s", wanted, user, name, diff)
				}
			}
		}
	}
}
