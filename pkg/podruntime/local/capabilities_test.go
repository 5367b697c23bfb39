package local

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/podruntime"
)

func TestReadCapabilities(t *testing.T) {
	all := len(podruntime.DefaultCapabilities)
	list := func(names ...corev1.Capability) []corev1.Capability { return names }
	for _, tt := range []struct {
		name string
		pod  *corev1.PodSecurityContext
		own  *corev1.SecurityContext
		want int
	}{
		{"nothing said", nil, nil, all},
		{"another user", &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](1000)}, nil, 0},
		{"not root", &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true)}, &corev1.SecurityContext{}, 0},
		{"root in this container", &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](1000)}, &corev1.SecurityContext{RunAsUser: ptr.To[int64](0)}, all},
		{"another user, the field set", &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](1000)}, &corev1.SecurityContext{Capabilities: &corev1.Capabilities{}}, all},
		{"narrowed", nil, &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Drop: list("NET_RAW")}}, all - 1},
		{"one that none has is dropped", nil, &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Drop: list("SYS_ADMIN")}}, all},
		{"widened", nil, &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: list("SYS_PTRACE")}}, all + 1},
		{"none", nil, &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Drop: list("ALL")}}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec := hostSpec("pod")
			spec.Template.Spec.SecurityContext, spec.Template.Spec.Containers[0].SecurityContext = tt.pod, tt.own
			plan, err := planner().planFor(&spec)
			if err != nil || len(plan.capabilities) != tt.want {
				t.Errorf("got %v, %v, want %d", plan.capabilities, err, tt.want)
			}
		})
	}
	spec := hostSpec("pod")
	spec.Template.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: list("CHOWN", "SYS_ADMIN")}}
	if _, err := planner().planFor(&spec); !errors.Is(err, podruntime.ErrInvalid) || !strings.Contains(err.Error(), "capabilities.add[1]") {
		t.Errorf("SYS_ADMIN: %v", err)
	}
}

// TestCapabilitiesInAPod reads the kernel's own view of what root may do in a pod, and does what the
// default set is for.
func TestCapabilitiesInAPod(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir()})
	defer f.removeAll()
	const effective = `grep CapEff /proc/self/status | cut -f2`
	usual := f.create(hostSpec("usual"))
	// The bits of DefaultCapabilities in linux/capability.h.
	if out, _ := f.run(usual, effective); out != "00000000a80425fb\n" {
		t.Errorf("by default: %s", out)
	}
	narrow := hostSpec("narrow")
	first(&narrow.Template.Spec).SecurityContext = &corev1.SecurityContext{
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"CHOWN"}},
	}
	if out, _ := f.run(f.create(narrow), effective); out != "0000000000000001\n" {
		t.Errorf("narrowed: %s", out)
	}
	if f.machine.rootless {
		return // It has one user only, so nothing can be given to another.
	}
	if out, code := f.run(usual, "touch file && chown 1000:1000 file && stat -c %u:%g file"); code != 0 || out != "1000:1000\n" {
		t.Errorf("chown: exit code %d, output %q", code, out)
	}
	if out, code := f.run(usual, "setpriv --reuid=1000 --regid=1000 --clear-groups id -u"); code != 0 || out != "1000\n" {
		t.Errorf("changing to another user: exit code %d, output %q", code, out)
	}
}
