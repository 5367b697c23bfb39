package podspec

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// setupUser is the user of the init container: nobody that owns anything, and
// the one that distroless images have.
const setupUser = 65532

// secure fills in security settings where the template is silent: RuntimeDefault for seccomp and no
// way to gain privileges. What the template says stands, setting by setting.
//
// Capabilities depend on the user. A container that the template has run as another user than root
// gets none: it could not use them, and the restricted pod security standard wants them dropped. Any
// other container keeps the container runtime's default set, without which root cannot install
// packages or change owners. Once the template has a capabilities field, it alone decides: an empty
// one keeps the default set for any user. Whether its lists are empty or missing never matters,
// because protobuf cannot store the difference.
//
// runAsNonRoot is set only if nonRoot asks for it. Most images that agents work in run as root, and
// only the node knows an image's user: with such a default the API server would accept their pods
// and the node would never start them. A namespace that enforces the restricted standard refuses the
// pod at once, with a message that names the field.
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
	if own.Capabilities == nil && runsAsOther(spec, executor) {
		own.Capabilities = &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}
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
	if user := userOf(spec, executor); user != nil {
		return *user != 0
	}
	if own := executor.SecurityContext.RunAsNonRoot; own != nil {
		return *own
	}
	return ptr.Deref(spec.SecurityContext.RunAsNonRoot, false)
}

// runsAsRoot says that by the template the executor's user is root. If neither runsAsRoot nor
// runsAsOther is true, the image decides.
func runsAsRoot(spec *corev1.PodSpec, executor *corev1.Container) bool {
	user := userOf(spec, executor)
	return user != nil && *user == 0
}

// userOf returns the user that the template names for the executor, or nil.
func userOf(spec *corev1.PodSpec, executor *corev1.Container) *int64 {
	if own := executor.SecurityContext.RunAsUser; own != nil {
		return own
	}
	return spec.SecurityContext.RunAsUser
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
