package podruntime

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// DefaultCapabilities are those of root in a container whose template does not say otherwise: the
// default set of containerd and Docker. In a cluster the node's container runtime applies its own
// default, which is this set with containerd.
var DefaultCapabilities = []corev1.Capability{
	"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
	"NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}

// allCapabilities stands for every capability in a list of a template.
const allCapabilities = "ALL"

// Capabilities returns what is left of DefaultCapabilities under the lists of a template, sorted. ALL
// in Drop removes the default set, then Add adds and Drop removes single capabilities, in the order
// of containerd. ALL in Add is not expanded but returned as "ALL": the caller knows what exists.
func Capabilities(wanted *corev1.Capabilities) []corev1.Capability {
	if wanted == nil {
		return slices.Clone(DefaultCapabilities)
	}
	add, drop := CapabilityNames(wanted.Add), CapabilityNames(wanted.Drop)
	result := slices.Clone(DefaultCapabilities)
	if slices.Contains(drop, allCapabilities) {
		result = nil
	}
	result = append(result, add...)
	result = slices.DeleteFunc(result, func(c corev1.Capability) bool { return slices.Contains(drop, c) })
	slices.Sort(result)
	return slices.Compact(result)
}

// CapabilityNames returns names as Kubernetes writes them: upper case, without the kernel's prefix.
func CapabilityNames(names []corev1.Capability) []corev1.Capability {
	normal := make([]corev1.Capability, 0, len(names))
	for _, name := range names {
		normal = append(normal, corev1.Capability(strings.TrimPrefix(strings.ToUpper(string(name)), "CAP_")))
	}
	return normal
}
