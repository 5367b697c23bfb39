package local

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/local/image"
	"arl.io/arl/pkg/podruntime/local/launch"
)

// hostImage is the reference of the machine's own directories.
const hostImage = "host"

// agentTarget is where the agent lies in a container.
const agentTarget = "/.arl/agent"

// homeTarget is where a user finds a home if the image has none for it.
const homeTarget = "/.arl/home"

// minCPUQuotaMicros is the least quota that the kernel takes.
const minCPUQuotaMicros = 1000

// plan is what is to be run, as far as the template says; the image says the rest.
type plan struct {
	// host: the root is the machine's own, and image is not set.
	host       bool
	image      image.Reference
	pullPolicy image.Policy

	workDir       string
	command, args []string
	// dir is the command's directory; empty means the image's.
	dir string
	env []corev1.EnvVar

	user, group *int64
	nonRoot     bool
	groups      []int64
	// capabilities are those of root in the container, as the kernel names them.
	capabilities []string

	// probes is the argument by which the agent learns of the template's probes; empty without any.
	probes string

	hostname    string
	hostAliases []corev1.HostAlias
	volumes     []volume
	cgroup      launch.Cgroup
	// defaultMemory says that the limit of memory is the server's, not the template's.
	defaultMemory bool
}

// volume is an emptyDir and one place where it is mounted.
type volume struct {
	name     string
	target   string
	readOnly bool
	// memory: in memory, of sizeBytes at most if that is not 0.
	memory    bool
	sizeBytes int64
}

// planFor reads a template. If it holds anything that cannot be honoured, it
// returns podruntime.ErrInvalid with the name of the field.
func (r *Runtime) planFor(spec *podruntime.Spec) (*plan, error) {
	if spec.Template == nil {
		return nil, invalid("template", "is missing")
	}
	pod := &spec.Template.Spec
	if err := podFields.check("spec", *pod); err != nil {
		return nil, err
	}
	container, at, err := executor(pod)
	if err != nil {
		return nil, err
	}
	if err := containerFields.check(at, *container); err != nil {
		return nil, err
	}
	if !path.IsAbs(spec.WorkDir) {
		return nil, invalid("workDir", "must be absolute")
	}
	p := &plan{
		workDir: path.Clean(spec.WorkDir), command: container.Command, args: container.Args, dir: container.WorkingDir,
		hostname: hostname(pod.Hostname, spec.Name), hostAliases: pod.HostAliases,
	}
	if p.dir != "" && !path.IsAbs(p.dir) {
		return nil, invalid(at+".workingDir", "must be absolute")
	}
	for _, step := range []func() error{
		func() error { return p.readImage(r, at, container) },
		func() error { return p.readEnv(at, container.Env) },
		func() error { return p.readProbes(at, container) },
		func() error { return p.readUser(at, pod.SecurityContext, container.SecurityContext) },
		func() error { return p.readVolumes(at, pod.Volumes, container.VolumeMounts) },
		func() error { return p.readResources(at, container.Resources) },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if r.machine.rootless && p.user != nil && *p.user != 0 {
		return nil, invalid("securityContext.runAsUser",
			"a server that is not root can give a container user 0 only, which is the server's own user outside")
	}
	p.cgroup.Parent, p.cgroup.Pids, p.cgroup.Unlimited = r.config.CgroupParent, r.config.PidsLimit, !r.machine.cgroups
	p.limitMemory(r.config.DefaultMemoryBytes)
	return p, nil
}

// hostname is at most the 63 bytes that the kernel takes, and a DNS label.
func hostname(wanted, podName string) string {
	if wanted == "" {
		wanted = podName
	}
	wanted, _, _ = strings.Cut(wanted, ".")
	if len(wanted) > 63 {
		wanted = strings.TrimRight(wanted[:63], "-")
	}
	return wanted
}

func (p *plan) readImage(r *Runtime, at string, container *corev1.Container) error {
	p.pullPolicy = image.Policy(container.ImagePullPolicy)
	if !slices.Contains([]image.Policy{"", image.Always, image.IfNotPresent, image.Never}, p.pullPolicy) {
		return invalid(at+".imagePullPolicy", "must be Always, IfNotPresent or Never")
	}
	if container.Image == hostImage {
		if !r.config.AllowHostImage {
			return invalid(at+".image", `the image "host", the machine's own files, is not allowed by this server; `+
				"name an image, or start the server with --allow-host-image")
		}
		p.host = true
		return nil
	}
	ref, err := image.Parse(container.Image, r.config.InsecureRegistries)
	if err != nil {
		return invalid(at+".image", err.Error())
	}
	p.image = ref
	return nil
}

func (p *plan) readEnv(at string, env []corev1.EnvVar) error {
	for i, variable := range env {
		if variable.ValueFrom != nil {
			return invalid(fmt.Sprintf("%s.env[%d].valueFrom", at, i),
				"is not supported by the local runtime; give a value")
		}
	}
	p.env = env
	return nil
}

func (p *plan) readUser(at string, pod *corev1.PodSecurityContext, container *corev1.SecurityContext) error {
	if pod != nil {
		if err := podSecurityFields.check("spec.securityContext", *pod); err != nil {
			return err
		}
		if err := checkProfiles("spec.securityContext", pod.SeccompProfile, pod.AppArmorProfile); err != nil {
			return err
		}
		p.user, p.group, p.groups = pod.RunAsUser, pod.RunAsGroup, pod.SupplementalGroups
		p.nonRoot = pod.RunAsNonRoot != nil && *pod.RunAsNonRoot
	}
	if container == nil {
		return p.readCapabilities(at, nil)
	}
	at += ".securityContext"
	if err := containerSecurityFields.check(at, *container); err != nil {
		return err
	}
	if err := checkProfiles(at, container.SeccompProfile, container.AppArmorProfile); err != nil {
		return err
	}
	if container.RunAsUser != nil {
		p.user = container.RunAsUser
	}
	if container.RunAsGroup != nil {
		p.group = container.RunAsGroup
	}
	if container.RunAsNonRoot != nil {
		p.nonRoot = *container.RunAsNonRoot
	}
	return p.readCapabilities(at, container.Capabilities)
}

func (p *plan) readVolumes(at string, volumes []corev1.Volume, mounts []corev1.VolumeMount) error {
	known := map[string]*corev1.EmptyDirVolumeSource{}
	for i, v := range volumes {
		where := fmt.Sprintf("spec.volumes[%d]", i)
		if v.EmptyDir == nil {
			return invalid(where+"."+volumeKind(v.VolumeSource), "is not supported by the local runtime; only emptyDir is")
		}
		if err := emptyDirFields.check(where+".emptyDir", *v.EmptyDir); err != nil {
			return err
		}
		switch v.EmptyDir.Medium {
		case corev1.StorageMediumMemory:
		case corev1.StorageMediumDefault:
		default:
			return invalid(where+".emptyDir.medium", "must be empty or Memory")
		}
		if strings.ContainsAny(v.Name, "/\x00") || v.Name == "" || strings.HasPrefix(v.Name, ".") {
			return invalid(where+".name", "must be a DNS label")
		}
		known[v.Name] = v.EmptyDir
	}
	for i, m := range mounts {
		where := fmt.Sprintf("%s.volumeMounts[%d]", at, i)
		if err := mountFields.check(where, m); err != nil {
			return err
		}
		source, ok := known[m.Name]
		if !ok {
			return invalid(where+".name", "there is no volume of that name")
		}
		if !path.IsAbs(m.MountPath) || path.Clean(m.MountPath) == "/" {
			return invalid(where+".mountPath", "must be absolute and not /")
		}
		v := volume{name: m.Name, target: path.Clean(m.MountPath), readOnly: m.ReadOnly}
		if source.Medium == corev1.StorageMediumMemory {
			v.memory = true
			if source.SizeLimit != nil {
				v.sizeBytes = source.SizeLimit.Value()
			}
		}
		p.volumes = append(p.volumes, v)
	}
	return nil
}

func (p *plan) readResources(at string, resources corev1.ResourceRequirements) error {
	if len(resources.Claims) > 0 {
		return invalid(at+".resources.claims", "is not supported by the local runtime")
	}
	for name := range resources.Limits {
		if name != corev1.ResourceCPU && name != corev1.ResourceMemory && name != corev1.ResourceEphemeralStorage {
			return invalid(fmt.Sprintf("%s.resources.limits[%s]", at, name), "is not supported by the local runtime; cpu, memory and ephemeral-storage are")
		}
	}
	for name := range resources.Requests {
		if name != corev1.ResourceCPU && name != corev1.ResourceMemory && name != corev1.ResourceEphemeralStorage {
			return invalid(fmt.Sprintf("%s.resources.requests[%s]", at, name), "is not supported by the local runtime; cpu, memory and ephemeral-storage are")
		}
	}
	limit, request := milli(resources.Limits), milli(resources.Requests)
	if request == 0 {
		request = limit
	}
	if request > 0 {
		p.cgroup.CPUShares = uint64(max(2, request*1024/1000))
	}
	if limit > 0 {
		p.cgroup.CPUQuotaMicros = max(minCPUQuotaMicros, limit*launch.CPUPeriodMicros/1000)
	}
	if memory, ok := resources.Limits[corev1.ResourceMemory]; ok {
		p.cgroup.MemoryBytes = memory.Value()
	}
	return nil
}

func milli(list corev1.ResourceList) int64 {
	quantity, ok := list[corev1.ResourceCPU]
	if !ok {
		quantity = resource.Quantity{}
	}
	return quantity.MilliValue()
}
