package local

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/local/launch"
)

// planner is a runtime that only plans.
func planner() *Runtime {
	return &Runtime{
		config:  Config{AllowHostImage: true, CgroupParent: "/parent", PidsLimit: 10},
		machine: machine{cgroups: true, shifts: true},
	}
}

func first(pod *corev1.PodSpec) *corev1.Container { return &pod.Containers[0] }

var unsupportedTests = []struct {
	// field must be named by the error.
	field  string
	change func(*corev1.PodSpec)
}{
	{"spec.containers", func(p *corev1.PodSpec) { p.Containers = nil }},
	{"spec.containers[1]", func(p *corev1.PodSpec) { p.Containers = append(p.Containers, corev1.Container{Name: "extra"}) }},
	{"spec.initContainers", func(p *corev1.PodSpec) { p.InitContainers = []corev1.Container{{Name: "init"}} }},
	{"spec.ephemeralContainers", func(p *corev1.PodSpec) { p.EphemeralContainers = make([]corev1.EphemeralContainer, 1) }},
	{"spec.hostNetwork", func(p *corev1.PodSpec) { p.HostNetwork = true }},
	{"spec.hostPID", func(p *corev1.PodSpec) { p.HostPID = true }},
	{"spec.hostUsers", func(p *corev1.PodSpec) { p.HostUsers = ptr.To(true) }},
	{"spec.runtimeClassName", func(p *corev1.PodSpec) { p.RuntimeClassName = ptr.To("gvisor") }},
	{"spec.activeDeadlineSeconds", func(p *corev1.PodSpec) { p.ActiveDeadlineSeconds = ptr.To[int64](1) }},
	{"spec.dnsConfig", func(p *corev1.PodSpec) { p.DNSConfig = &corev1.PodDNSConfig{} }},
	{"spec.volumes[0].hostPath", func(p *corev1.PodSpec) {
		p.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}}
	}},
	{"spec.volumes[0].configMap", func(p *corev1.PodSpec) {
		p.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}}}
	}},
	{"spec.volumes[0].name", func(p *corev1.PodSpec) {
		p.Volumes = []corev1.Volume{{Name: "../../x", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	}},
	{"volumeMounts[0].name", func(p *corev1.PodSpec) {
		first(p).VolumeMounts = []corev1.VolumeMount{{Name: "none", MountPath: "/v"}}
	}},
	{"volumeMounts[0].subPath", func(p *corev1.PodSpec) {
		first(p).VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v", SubPath: "x"}}
	}},
	{"volumeMounts[0].mountPath", func(p *corev1.PodSpec) {
		p.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		first(p).VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/.."}}
	}},
	{"spec.securityContext.fsGroup", func(p *corev1.PodSpec) {
		p.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr.To[int64](1)}
	}},
	{"spec.securityContext.sysctls", func(p *corev1.PodSpec) {
		p.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "a", Value: "b"}}}
	}},
	{"spec.securityContext.seccompProfile.type", func(p *corev1.PodSpec) {
		p.SecurityContext = &corev1.PodSecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}}
	}},
	{"containers[0].securityContext.privileged", func(p *corev1.PodSpec) {
		first(p).SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true)}
	}},
	{"containers[0].securityContext.allowPrivilegeEscalation", func(p *corev1.PodSpec) {
		first(p).SecurityContext = &corev1.SecurityContext{AllowPrivilegeEscalation: ptr.To(true)}
	}},
	{"containers[0].securityContext.readOnlyRootFilesystem", func(p *corev1.PodSpec) {
		first(p).SecurityContext = &corev1.SecurityContext{ReadOnlyRootFilesystem: ptr.To(true)}
	}},
	{"containers[0].securityContext.capabilities.add[0]", func(p *corev1.PodSpec) {
		first(p).SecurityContext = &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"SYS_ADMIN"}}}
	}},
	{"containers[0].env[0].valueFrom", func(p *corev1.PodSpec) {
		first(p).Env = []corev1.EnvVar{{Name: "A", ValueFrom: &corev1.EnvVarSource{}}}
	}},
	{"containers[0].envFrom", func(p *corev1.PodSpec) { first(p).EnvFrom = make([]corev1.EnvFromSource, 1) }},
	{"containers[0].livenessProbe", func(p *corev1.PodSpec) { first(p).LivenessProbe = &corev1.Probe{} }},
	{"containers[0].lifecycle", func(p *corev1.PodSpec) { first(p).Lifecycle = &corev1.Lifecycle{} }},
	{"containers[0].tty", func(p *corev1.PodSpec) { first(p).TTY = true }},
	{"containers[0].volumeDevices", func(p *corev1.PodSpec) { first(p).VolumeDevices = make([]corev1.VolumeDevice, 1) }},
	{"containers[0].resources.limits[nvidia.com/gpu]", func(p *corev1.PodSpec) {
		first(p).Resources.Limits = corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("1")}
	}},
	{"containers[0].resources.claims", func(p *corev1.PodSpec) { first(p).Resources.Claims = make([]corev1.ResourceClaim, 1) }},
	{"containers[0].image", func(p *corev1.PodSpec) { first(p).Image = "" }},
	{"containers[0].image", func(p *corev1.PodSpec) { first(p).Image = "Not A Reference" }},
	{"containers[0].imagePullPolicy", func(p *corev1.PodSpec) { first(p).ImagePullPolicy = "Sometimes" }},
	{"containers[0].workingDir", func(p *corev1.PodSpec) { first(p).WorkingDir = "relative" }},
}

func TestUnsupportedFields(t *testing.T) {
	for _, test := range unsupportedTests {
		t.Run(test.field, func(t *testing.T) {
			spec := hostSpec("pod")
			test.change(&spec.Template.Spec)
			_, err := planner().planFor(&spec)
			if !errors.Is(err, podruntime.ErrInvalid) || !strings.Contains(err.Error(), test.field+":") {
				t.Errorf("got %v, want ErrInvalid that names %s", err, test.field)
			}
		})
	}
}

// TestIdleFields passes a template full of what has no effect here.
func TestIdleFields(t *testing.T) {
	spec := hostSpec("pod")
	pod := &spec.Template.Spec
	pod.NodeSelector = map[string]string{"a": "b"}
	pod.Tolerations = []corev1.Toleration{{Key: "a"}}
	pod.Affinity = &corev1.Affinity{}
	pod.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "secret"}}
	pod.RestartPolicy, pod.DNSPolicy = corev1.RestartPolicyAlways, corev1.DNSClusterFirst
	pod.TerminationGracePeriodSeconds, pod.AutomountServiceAccountToken = ptr.To[int64](1), ptr.To(false)
	pod.ServiceAccountName, pod.SchedulerName = "default", "default-scheduler"
	pod.HostUsers, pod.EnableServiceLinks = ptr.To(false), ptr.To(true)
	pod.Containers = append([]corev1.Container{{Name: sidecarName, Image: "anything", Command: []string{"x"}}}, pod.Containers...)
	container := &pod.Containers[1]
	container.Ports = []corev1.ContainerPort{{ContainerPort: 80}}
	container.TerminationMessagePath = "/dev/termination-log"
	container.SecurityContext = &corev1.SecurityContext{
		Privileged: ptr.To(false), AllowPrivilegeEscalation: ptr.To(false), Capabilities: &corev1.Capabilities{},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	spec.Template.ObjectMeta = metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}
	plan, err := planner().planFor(&spec)
	if err != nil {
		t.Fatal(err)
	}
	if !plan.host {
		t.Error("the sidecar was taken for the executor")
	}
}

func TestResources(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		l := corev1.ResourceList{}
		if cpu != "" {
			l[corev1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			l[corev1.ResourceMemory] = resource.MustParse(memory)
		}
		return l
	}
	tests := []struct {
		name      string
		resources corev1.ResourceRequirements
		want      launch.Cgroup
	}{
		{name: "none", want: launch.Cgroup{}},
		{name: "a request is a share and never a bound", resources: corev1.ResourceRequirements{Requests: list("500m", "1Gi")},
			want: launch.Cgroup{CPUShares: 512}},
		{name: "a limit is a bound, and a share", resources: corev1.ResourceRequirements{Limits: list("1500m", "1Gi")},
			want: launch.Cgroup{CPUShares: 1536, CPUQuotaMicros: 150_000, MemoryBytes: 1 << 30}},
		{name: "both", resources: corev1.ResourceRequirements{Requests: list("1", ""), Limits: list("2", "")},
			want: launch.Cgroup{CPUShares: 1024, CPUQuotaMicros: 200_000}},
		{name: "the least the kernel takes", resources: corev1.ResourceRequirements{Limits: list("1m", "")},
			want: launch.Cgroup{CPUShares: 2, CPUQuotaMicros: 1000}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			spec := hostSpec("pod")
			spec.Template.Spec.Containers[0].Resources = test.resources
			plan, err := planner().planFor(&spec)
			if err != nil {
				t.Fatal(err)
			}
			test.want.Parent, test.want.Pids = "/parent", 10
			if diff := cmp.Diff(test.want, plan.cgroup); diff != "" {
				t.Errorf("cgroup (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCommandOf(t *testing.T) {
	config := v1.Config{Entrypoint: []string{"/entry", "point"}, Cmd: []string{"image"}, Env: []string{"A=image"}}
	tests := []struct {
		name          string
		command, args []string
		want          []string
	}{
		{"nothing runs beside the agent", nil, nil, nil},
		{"the template's command", []string{"a", "b"}, nil, []string{"a", "b"}},
		{"with arguments", []string{"a"}, []string{"b"}, []string{"a", "b"}},
		{"arguments of the image's entrypoint", nil, []string{"x"}, []string{"/entry", "point", "x"}},
		{"variables", []string{"$(A)", "$$(A)", "$(NONE)", "a$", "$A"}, nil, []string{"image", "$(A)", "$(NONE)", "a$", "$A"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			plan := &plan{command: test.command, args: test.args}
			if diff := cmp.Diff(test.want, plan.commandOf(config)); diff != "" {
				t.Errorf("command (-want +got):\n%s", diff)
			}
			if config.Entrypoint[0] != "/entry" {
				t.Error("the image's configuration was changed")
			}
		})
	}
}

func TestHostname(t *testing.T) {
	for _, test := range []struct{ wanted, pod, want string }{
		{"", "pool-abc", "pool-abc"},
		{"named", "pool-abc", "named"},
		{"", "with.dots", "with"},
		{"", strings.Repeat("a", 62) + "-" + "b", strings.Repeat("a", 62)},
	} {
		if got := hostname(test.wanted, test.pod); got != test.want {
			t.Errorf("hostname(%q, %q) = %q, want %q", test.wanted, test.pod, got, test.want)
		}
	}
}

// TestCheck needs no name of a pod, and has nothing to say of a container without
// command: here the image's entrypoint runs.
func TestCheck(t *testing.T) {
	template := &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "host", Args: []string{"x"}}}}}
	spec := podruntime.Spec{Template: template, WorkDir: "/workspace"}
	if got, err := planner().Check(spec); err != nil || got != (podruntime.Advice{}) {
		t.Errorf("%+v, %v", got, err)
	}
	template.Spec.HostNetwork = true
	if _, err := planner().Check(spec); !errors.Is(err, podruntime.ErrInvalid) || !strings.Contains(err.Error(), "hostNetwork") {
		t.Errorf("%v", err)
	}
}
