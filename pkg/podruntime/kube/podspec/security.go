package podspec

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// setupUser is the user of the init container: nobody that owns anything, and
// the one that distroless images have.
const setupUser = 65532

// secure fills in the settings of the restricted pod security standard where
// the template says nothing: RuntimeDefault for seccomp, no way to gain privileges,
// no capabilities. What it says stands, setting by setting.
//
// One setting of the standard is left out unless asked for by nonRoot: runAsNonRoot.
// Most images that agents work in run as root, and an image's user is known
// to the node alone, so such a default would have their pods accepted and then never
// started. A namespace that enforces the standard refuses the pod at once instead, with
// a message that names the field, and the template sets it, with runAsUser if
// the image needs that.
func secure(spec *corev1.PodSpec, executor *corev1.Container, nonRoot bool) {
	if spec.SecurityContext == nil {
		spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	if executor.SecurityContext == nil {
		executor.SecurityContext = &corev1.SecurityContext{}
	}
	pod, own := spec.SecurityContext, executor.SecurityContext
	if pod.SeccompProfile == nil && !ptr.Deref(own.Privileged, false) {
		pod.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	}
	if nonRoot && pod.RunAsNonRoot == nil && own.RunAsNonRoot == nil && pod.RunAsUser == nil && own.RunAsUser == nil {
		own.RunAsNonRoot = ptr.To(true)
	}
	if ptr.Deref(own.Privileged, false) {
		return
	}
	if own.AllowPrivilegeEscalation == nil && !addsSysAdmin(own.Capabilities) {
		own.AllowPrivilegeEscalation = ptr.To(false)
	}
	if own.Capabilities == nil {
		own.Capabilities = &corev1.Capabilities{}
	}
	if own.Capabilities.Drop == nil {
		own.Capabilities.Drop = []corev1.Capability{"ALL"}
	}
}

// addsSysAdmin says that capabilities are wanted that rule out
// allowPrivilegeEscalation: false.
func addsSysAdmin(wanted *corev1.Capabilities) bool {
	return wanted != nil && slices.ContainsFunc(wanted.Add, func(c corev1.Capability) bool {
		return c == "CAP_SYS_ADMIN" || c == "SYS_ADMIN"
	})
}

// runsAsOther says that by the template the executor's user is not root.
func runsAsOther(spec *corev1.PodSpec, executor *corev1.Container) bool {
	pod, own := spec.SecurityContext, executor.SecurityContext
	for _, user := range []*int64{own.RunAsUser, pod.RunAsUser} {
		if user != nil {
			return *user != 0
		}
	}
	if own.RunAsNonRoot != nil {
		return *own.RunAsNonRoot
	}
	return ptr.Deref(pod.RunAsNonRoot, false)
}

// setupSecurity satisfies the restricted standard by itself, whatever the pod says.
func setupSecurity() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		RunAsUser:                ptr.To[int64](setupUser),
		RunAsGroup:               ptr.To[int64](setupUser),
		RunAsNonRoot:             ptr.To(true),
		Privileged:               ptr.To(false),
		ReadOnlyRootFilesystem:   ptr.To(true),
		AllowPrivilegeEscalation: ptr.To(false),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}
