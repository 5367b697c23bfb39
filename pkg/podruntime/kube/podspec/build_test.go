package podspec

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/podruntime"
)

var agent = Agent{Image: "arl:1", Port: DefaultPort, ClientCA: []byte("authority")}

// specOf returns the spec of a pod for a template with these containers.
func specOf(containers ...corev1.Container) podruntime.Spec {
	return podruntime.Spec{
		Key:  podruntime.Key{Namespace: "space", Name: "pool-1"},
		Pool: "pool", PoolUID: "pool-uid", TemplateHash: "hash", WorkDir: "/workspace",
		Template: &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: containers}},
	}
}

func build(t *testing.T, spec podruntime.Spec) *corev1.Pod {
	t.Helper()
	pod, err := Build(spec, agent)
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// setupContainers are the init containers of the pod of TestBuild.
func setupContainers() []corev1.Container {
	return []corev1.Container{{
		Name: "arl-agent-setup", Image: "arl:1",
		Command: []string{"/arl-agent", "prepare", "/.arl"},
		Env:     []corev1.EnvVar{{Name: "ARL_CLIENT_CA", Value: "authority"}},
		Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{
			"cpu": resource.MustParse("1"), "memory": resource.MustParse("1Gi"),
		}},
		VolumeMounts:             []corev1.VolumeMount{{Name: "arl-agent", MountPath: "/.arl"}},
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext:          setupSecurity(),
	}, {
		Name: "arl-workdir-setup", Image: "python",
		Command: []string{"/.arl/arl-agent", "workdir", "/workspace", "/.arl-work"},
		Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{
			"cpu": resource.MustParse("1"), "memory": resource.MustParse("1Gi"),
		}},
		VolumeMounts: []corev1.VolumeMount{
			{Name: "arl-agent", MountPath: "/.arl", ReadOnly: true}, {Name: "arl-work", MountPath: "/.arl-work"},
		},
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext:          &corev1.SecurityContext{AllowPrivilegeEscalation: ptr.To(false)},
	}, {Name: "first", Image: "init"}}
}

// TestBuild shows the whole pod of a small template.
func TestBuild(t *testing.T) {
	limits := corev1.ResourceList{"cpu": resource.MustParse("1"), "memory": resource.MustParse("1Gi"), "example.com/gpu": resource.MustParse("1")}
	own := corev1.Container{
		Name: "main", Image: "python", Command: []string{"python"}, Args: []string{"-m", "http.server"},
		Env:          []corev1.EnvVar{{Name: "A", Value: "1"}},
		Ports:        []corev1.ContainerPort{{ContainerPort: 8000}},
		VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}},
		Resources:    corev1.ResourceRequirements{Limits: limits},
	}
	spec := specOf(own, corev1.Container{Name: "sidecar", Image: "old"})
	spec.Template.Labels = map[string]string{"team": "a"}
	spec.Template.Annotations = map[string]string{"note": "b"}
	spec.Template.Spec.RestartPolicy = corev1.RestartPolicyAlways
	spec.Template.Spec.InitContainers = []corev1.Container{{Name: "first", Image: "init"}}
	spec.Template.Spec.Volumes = []corev1.Volume{emptyDir("data")}
	before := spec.Template.DeepCopy()

	want := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "space", Name: "pool-1",
			Labels: map[string]string{
				"team": "a", "arl.io/pool": "pool", "arl.io/pool-uid": "pool-uid", "arl.io/template-hash": "hash",
			},
			Annotations: map[string]string{
				"note": "b", "arl.io/container": "main", "arl.io/work-dir": "/workspace",
				"kubectl.kubernetes.io/default-container": "main",
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "arl.io/v1alpha1", Kind: "WarmPool", Name: "pool", UID: "pool-uid", Controller: ptr.To(true),
			}},
		},
		Spec: corev1.PodSpec{
			RestartPolicy:                corev1.RestartPolicyNever,
			AutomountServiceAccountToken: ptr.To(false),
			SecurityContext: &corev1.PodSecurityContext{
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Volumes:        []corev1.Volume{emptyDir("data"), emptyDir("arl-agent"), emptyDir("arl-work")},
			InitContainers: setupContainers(),
			Containers: []corev1.Container{{
				Name: "main", Image: "python",
				Command: []string{
					"/.arl/arl-agent", "serve", "--listen-tls", ":7317",
					"--tls-cert", "/.arl/tls.crt", "--tls-key", "/.arl/tls.key", "--client-ca", "/.arl/client-ca.crt",
					"--pod-uid", "$(ARL_POD_UID)", "--work-dir", "/workspace", "--home", "/.arl/home",
				},
				Args: []string{"--", "python", "-m", "http.server"},
				Env: []corev1.EnvVar{
					{Name: "ARL_POD_UID", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.uid"}}},
					{Name: "A", Value: "1"},
				},
				Ports: []corev1.ContainerPort{{ContainerPort: 8000}, {Name: "arl-agent", ContainerPort: 7317, Protocol: "TCP"}},
				VolumeMounts: []corev1.VolumeMount{
					{Name: "data", MountPath: "/data"}, {Name: "arl-agent", MountPath: "/.arl", ReadOnly: true},
					{Name: "arl-work", MountPath: "/workspace", SubPath: "work"},
					{Name: "arl-work", MountPath: "/.arl/home", SubPath: "home"},
				},
				Resources:                corev1.ResourceRequirements{Limits: limits},
				TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
				SecurityContext:          &corev1.SecurityContext{AllowPrivilegeEscalation: ptr.To(false)},
			}, {Name: "sidecar", Image: "old"}},
		},
	}
	if diff := cmp.Diff(want, build(t, spec)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(before, spec.Template); diff != "" {
		t.Errorf("the template was changed: %s", diff)
	}
}

func TestBuildChoosesTheExecutor(t *testing.T) {
	for _, tt := range []struct {
		name  string
		names []string
		want  string
	}{
		{"the first", []string{"a", "b"}, "a"},
		{"by name", []string{"sidecar", "executor"}, "executor"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec := specOf()
			for _, name := range tt.names {
				spec.Template.Spec.Containers = append(spec.Template.Spec.Containers, corev1.Container{Name: name, Image: "i"})
			}
			pod := build(t, spec)
			if got := Executor(pod); got != tt.want {
				t.Errorf("Executor: %q, want %q", got, tt.want)
			}
			for _, c := range pod.Spec.Containers {
				if wrapped := len(c.Command) > 0; wrapped != (c.Name == tt.want) {
					t.Errorf("container %q has command %q", c.Name, c.Command)
				}
				if c.Name == tt.want && c.Args != nil {
					t.Errorf("the agent was told to run %q", c.Args)
				}
			}
			// A webhook may put its own container first.
			pod.Spec.Containers = append([]corev1.Container{{Name: "injected"}}, pod.Spec.Containers...)
			if got := Executor(pod); got != tt.want {
				t.Errorf("after an injection: %q, want %q", got, tt.want)
			}
		})
	}
}

func TestBuildKeepsWhatTheTemplateSays(t *testing.T) {
	spec := specOf(corev1.Container{Name: "a", Image: "i", TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		RestartPolicy: ptr.To(corev1.ContainerRestartPolicyNever)})
	spec.WorkDir = "/a$(HOME)"
	spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "HOME", Value: "/mine"}}
	spec.Template.Annotations = map[string]string{"kubectl.kubernetes.io/default-container": "other"}
	spec.Template.Spec.AutomountServiceAccountToken = ptr.To(true)
	pod := build(t, spec)
	container := pod.Spec.Containers[0]
	if !*pod.Spec.AutomountServiceAccountToken {
		t.Error("the token that the template asks for is not mounted")
	}
	if container.TerminationMessagePolicy != corev1.TerminationMessageReadFile {
		t.Error("terminationMessagePolicy was changed")
	}
	if container.RestartPolicy != nil {
		t.Error("the agent may be started again")
	}
	if pod.Annotations["kubectl.kubernetes.io/default-container"] != "other" {
		t.Error("the default container was changed")
	}
	// The cluster would put the variable's value in. And HOME is the template's, so the agent gets no
	// other after the work directory.
	if got := container.Command[len(container.Command)-1]; got != "/a$$(HOME)" {
		t.Errorf("work directory: %q", got)
	}
	if got := pod.Spec.InitContainers[1].Command; !slices.Equal(got, []string{"/.arl/arl-agent", "workdir", "--keep-home", "/a$$(HOME)", "/.arl-work"}) {
		t.Errorf("init container for the work directory: %q", got)
	}
}

func TestRead(t *testing.T) {
	spec := specOf(corev1.Container{Name: "a", Image: "i"})
	pod := build(t, spec)
	pod.UID = "uid"
	want := podruntime.Pod{Key: spec.Key, UID: "uid", Pool: "pool", PoolUID: "pool-uid", TemplateHash: "hash", WorkDir: "/workspace"}
	if diff := cmp.Diff(want, Read(pod)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestBuildRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*podruntime.Spec)
		want   string
	}{
		{"no template", func(s *podruntime.Spec) { s.Template = nil }, "template"},
		{"no container", func(s *podruntime.Spec) { s.Template.Spec.Containers = nil }, "spec.containers: needs"},
		{"relative work directory", func(s *podruntime.Spec) { s.WorkDir = "work" }, "workDir"},
		{"Windows", func(s *podruntime.Spec) { s.Template.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }, "spec.os.name"},
		{"args alone", func(s *podruntime.Spec) { s.Template.Spec.Containers[0].Args = []string{"x"} }, "spec.containers[0].args"},
		{"the agent's port", func(s *podruntime.Spec) {
			s.Template.Spec.Containers[1].Ports = []corev1.ContainerPort{{ContainerPort: DefaultPort}}
		}, "spec.containers[1].ports[0].containerPort"},
		{"the agent's directory", func(s *podruntime.Spec) {
			s.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/.arl/x/"}}
		}, "spec.containers[0].volumeMounts[0].mountPath"},
		{"the agent's volume", func(s *podruntime.Spec) { s.Template.Spec.Volumes = []corev1.Volume{emptyDir(AgentVolume)} }, "spec.volumes[0].name"},
		{"the setup container", func(s *podruntime.Spec) { s.Template.Spec.Containers[1].Name = SetupContainer }, "arl-agent-setup"},
		{"the init container of the work directory", func(s *podruntime.Spec) {
			s.Template.Spec.InitContainers = []corev1.Container{{Name: WorkDirContainer}}
		}, "arl-workdir-setup"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec := specOf(corev1.Container{Name: "a", Image: "i"}, corev1.Container{Name: "b", Image: "i"})
			tt.change(&spec)
			_, err := Build(spec, agent)
			if !errors.Is(err, podruntime.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want ErrInvalid that names %q", err, tt.want)
			}
		})
	}
}

func TestRemark(t *testing.T) {
	for _, tt := range []struct {
		name       string
		containers []corev1.Container
		words      string
	}{
		{"a command", []corev1.Container{{Name: "main", Command: []string{"serve"}}}, ""},
		{"no command", []corev1.Container{{Name: "main"}}, `container "main" has no command`},
		{"the command of another container", []corev1.Container{{Name: "sidecar", Command: []string{"serve"}}, {Name: "executor"}}, `"executor"`},
		{"no container", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := remarkOn(specOf(tt.containers...).Template)
			if !strings.Contains(got, tt.words) || (tt.words == "") != (got == "") {
				t.Errorf("Remark: %q, want something with %q", got, tt.words)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	silent := corev1.Container{Name: "silent", Image: "i"}
	talks := corev1.Container{Name: "executor", Image: "i", Command: []string{"python"}}
	for _, tt := range []struct {
		name       string
		containers []corev1.Container
		reason     string
		message    string
	}{
		{"command", []corev1.Container{talks}, "", ""},
		{"another container has none", []corev1.Container{silent, talks}, "", ""},
		{"no command", []corev1.Container{{Name: "other", Command: []string{"x"}}, {Name: "executor", Image: "i"}}, "NoCommand", `container "executor" has no command`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec := specOf(tt.containers...)
			spec.Name = ""
			got, err := Check(spec, agent)
			if err != nil || got.Reason != tt.reason || !strings.Contains(got.Message, tt.message) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	alone := talks
	alone.Command, alone.Args = nil, []string{"x"}
	if _, err := Check(specOf(alone), agent); !errors.Is(err, podruntime.ErrInvalid) || !strings.Contains(err.Error(), "spec.containers[0].args: needs command") {
		t.Errorf("args alone: %v", err)
	}
}
