package local

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"arl.io/arl/pkg/podruntime"
)

// addableCapabilities may be added to podruntime.DefaultCapabilities. They hold in the container's
// own user and network namespaces. All others either have no effect there or open more of the kernel
// than a container of this runtime should reach.
var addableCapabilities = []corev1.Capability{"NET_ADMIN", "SYS_NICE", "SYS_PTRACE"}

// readCapabilities sets the capabilities of the container's root. The rules are those of the pods of
// a cluster: none by default for another user, else the default set, as the template changes it.
func (p *plan) readCapabilities(at string, wanted *corev1.Capabilities) error {
	if other := p.user != nil && *p.user != 0 || p.user == nil && p.nonRoot; other && wanted == nil {
		return nil
	}
	if wanted != nil {
		// Dropping what no container here has changes nothing.
		for i, name := range podruntime.CapabilityNames(wanted.Add) {
			if !slices.Contains(podruntime.DefaultCapabilities, name) && !slices.Contains(addableCapabilities, name) {
				return invalid(fmt.Sprintf("%s.capabilities.add[%d]", at, i), fmt.Sprintf(
					"%q is not supported by the local runtime; to the default set can be added: %v", name, addableCapabilities))
			}
		}
	}
	for _, name := range podruntime.Capabilities(wanted) {
		p.capabilities = append(p.capabilities, "CAP_"+string(name))
	}
	return nil
}
