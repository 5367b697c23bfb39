package local

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// TestStepsCannotTakeOverTheAgent has steps of the agent's own user try to trace, read, stop and end it.
func TestStepsCannotTakeOverTheAgent(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir()})
	defer f.removeAll()
	ref := pushed(t, imageOf(t, v1.Config{}))
	for name, user := range map[string]int64{"root": 0, "ordinary": 1000} {
		t.Run(name, func(t *testing.T) {
			if f.machine.rootless && user != 0 {
				t.Skip("users other than root take root")
			}
			spec := podSpec(name, ref)
			spec.Template.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: ptr.To(user)}
			pod := f.create(spec)
			// Twice: the agent is there after the first time.
			for range 2 {
				if out, code := f.exec(pod, "/helper", "intrude"); code != 0 || out != "open: [], stops: false\n" {
					t.Errorf("exit code %d, %s", code, out)
				}
			}
		})
	}
}
