// Package podspec makes the Kubernetes pod for a pool's template, and reads
// back from a pod what it was made for. It is pure: no client, no clock.
//
// The pod is the template's with these additions.
//
//   - An init container of the server's own image, SetupContainer, puts the agent
//     and a new key into an emptyDir and tells in its termination message which key it is.
//   - The executor, which is the container of that name or else the first, gets
//     the emptyDir, read-only, and the agent as its first process. The container's own
//     command and args follow it; they run beneath the agent, without a shell. A
//     container without command runs the agent alone: what its image would run is
//     not known without asking a registry. So args without command are refused: they
//     could only be dropped, or be taken for a command that they are not.
//   - For an executor that is not known to run as root, or cannot write in its root file system: a
//     volume for the work directory and HOME, and a second init container of the executor's own image
//     and user, WorkDirContainer, that makes both in it. See workdir.go.
//   - Labels and annotations by which the pod is known again.
//   - The security settings of security.go, where the template says nothing.
//   - restartPolicy Never, whatever the template says, and no token of the
//     service account unless the template asks for one: it is a fresh pod, not a restarted
//     container, that replaces one which has ended.
//
// All else is left as it is, other containers included, also the sidecar of older templates.
//
// The pool is the pod's controller, so that drains take the pod without --force, and disruption
// controllers and dashboards find the pool. The reference does not block the pool's deletion: the pool
// has a finalizer of the server's until no sandbox uses a pod of it.
package podspec

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/podruntime"
)

// Names in a pod that the template must leave free.
const (
	// SetupContainer is the init container that brings the agent.
	SetupContainer = "arl-agent-setup"
	// AgentVolume is the emptyDir that it fills.
	AgentVolume = "arl-agent"
	// WorkDirContainer is the init container that fills WorkVolume.
	WorkDirContainer = "arl-workdir-setup"
	// WorkVolume is the emptyDir for the work directory and the home of a user who is not root.
	WorkVolume = "arl-work"
	// AgentDir is where the executor finds AgentVolume.
	AgentDir = "/.arl"
)

// Annotations of a pod, beside the labels of package podruntime.
const (
	// AnnotationContainer names the executor: webhooks may add containers before it.
	AnnotationContainer = "arl.io/container"
	// AnnotationWorkDir holds the work directory.
	AnnotationWorkDir = "arl.io/work-dir"
)

// annotationDefaultContainer is what kubectl exec and logs go by.
const annotationDefaultContainer = "kubectl.kubernetes.io/default-container"

// agentPort names the port where the agent listens.
const agentPort = "arl-agent"

// uidVariable is the environment variable with the pod's UID. The agent keeps
// variables of this prefix from the commands that it runs.
const uidVariable = "ARL_POD_UID"

// DefaultPort is where agents listen: seldom used by anything else, and below the
// range from which outgoing connections take theirs.
const DefaultPort = 7317

// Agent says how the agent gets into a pod. Image and ClientCA are needed.
type Agent struct {
	// Image holds the agent, at /arl-agent.
	Image string
	// PullPolicy is that of Image; empty means the cluster's default.
	PullPolicy corev1.PullPolicy
	// Port is where the agent listens.
	Port int32
	// ClientCA are the certificates, PEM, of who signs the server's client certificate.
	ClientCA []byte
	// NonRoot asks for runAsNonRoot where the template does not say.
	NonRoot bool
	// StorageLimit is the limit of ephemeral-storage of an executor whose template has none; zero means
	// none.
	StorageLimit resource.Quantity
	// OwnWorkDir says that in the template's image the user is known to have a work directory and a
	// home without a volume; see State.OwnWorkDir of package phase.
	OwnWorkDir bool
}

// program is the agent's path in Agent.Image.
const program = "/arl-agent"

// Build returns the pod for a spec, which is left as it is. If the template
// cannot work, returns podruntime.ErrInvalid with the name of the field.
func Build(spec podruntime.Spec, agent Agent) (*corev1.Pod, error) {
	if err := check(spec, agent); err != nil {
		return nil, err
	}
	template := spec.Template.DeepCopy()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: spec.Namespace, Name: spec.Name,
			Labels: template.Labels, Annotations: template.Annotations,
			OwnerReferences: []metav1.OwnerReference{ownerOf(spec)},
		},
		Spec: template.Spec,
	}
	executor := &pod.Spec.Containers[executorOf(&pod.Spec)]
	mark(pod, spec, executor.Name)

	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	if pod.Spec.AutomountServiceAccountToken == nil {
		pod.Spec.AutomountServiceAccountToken = ptr.To(false)
	}
	secure(&pod.Spec, executor, agent.NonRoot)
	limitStorage(executor, agent.StorageLimit)
	keepHome := slices.ContainsFunc(executor.Env, func(v corev1.EnvVar) bool { return v.Name == "HOME" })
	workVolume := needsWorkVolume(&pod.Spec, executor, spec.WorkDir, agent)
	install(&pod.Spec, executor, agent)
	if workVolume {
		addWorkVolume(&pod.Spec, executor, spec.WorkDir, keepHome)
	}
	wrap(executor, agent, spec.WorkDir, keepHome)
	return pod, nil
}

// The kind of a pool, which owns its pods.
const (
	PoolAPIVersion = "arl.io/v1alpha1"
	PoolKind       = "WarmPool"
)

// ownerOf returns the reference to the pool of a spec.
func ownerOf(spec podruntime.Spec) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: PoolAPIVersion, Kind: PoolKind, Name: spec.Pool, UID: spec.PoolUID, Controller: ptr.To(true),
	}
}

// remarkOn tells of what a template leaves out, and what comes of that.
func remarkOn(template *corev1.PodTemplateSpec) string {
	if len(template.Spec.Containers) == 0 {
		return ""
	}
	executor := &template.Spec.Containers[executorOf(&template.Spec)]
	if len(executor.Command) > 0 {
		return ""
	}
	return fmt.Sprintf("container %q has no command, so nothing runs in it but the agent and the steps: "+
		"what its image would run by itself is not known here", executor.Name)
}

// limitStorage bounds what a container may take of its node's disk, unless its template says how much
// that is. What is requested stays as it is: by default, Kubernetes would have the node set aside as
// much as the limit.
func limitStorage(executor *corev1.Container, limit resource.Quantity) {
	const name = corev1.ResourceEphemeralStorage
	if _, given := executor.Resources.Limits[name]; given || limit.IsZero() {
		return
	}
	request, given := executor.Resources.Requests[name]
	if given && request.Cmp(limit) > 0 {
		return // the template needs more than the default
	}
	if executor.Resources.Limits == nil {
		executor.Resources.Limits = corev1.ResourceList{}
	}
	if executor.Resources.Requests == nil {
		executor.Resources.Requests = corev1.ResourceList{}
	}
	executor.Resources.Limits[name] = limit
	if !given {
		executor.Resources.Requests[name] = resource.Quantity{}
	}
}

// executorOf returns the index of the container in which steps run.
func executorOf(spec *corev1.PodSpec) int {
	return max(0, slices.IndexFunc(spec.Containers, func(c corev1.Container) bool { return c.Name == podruntime.ExecutorContainer }))
}

// mark writes on a pod what it is made for.
func mark(pod *corev1.Pod, spec podruntime.Spec, executor string) {
	labels := map[string]string{
		podruntime.LabelPool:         spec.Pool,
		podruntime.LabelPoolUID:      string(spec.PoolUID),
		podruntime.LabelTemplateHash: spec.TemplateHash,
	}
	if pod.Labels == nil {
		pod.Labels = labels
	} else {
		maps.Copy(pod.Labels, labels)
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[AnnotationContainer] = executor
	pod.Annotations[AnnotationWorkDir] = spec.WorkDir
	if pod.Annotations[annotationDefaultContainer] == "" {
		pod.Annotations[annotationDefaultContainer] = executor
	}
}

// install adds the init container and the volume.
func install(spec *corev1.PodSpec, executor *corev1.Container, agent Agent) {
	setup := corev1.Container{
		Name:                     SetupContainer,
		Image:                    agent.Image,
		ImagePullPolicy:          agent.PullPolicy,
		Command:                  []string{program, "prepare", AgentDir},
		Env:                      []corev1.EnvVar{{Name: wire.ClientCAVariable, Value: string(agent.ClientCA)}},
		Resources:                setupResources(executor.Resources),
		VolumeMounts:             []corev1.VolumeMount{{Name: AgentVolume, MountPath: AgentDir}},
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext:          setupSecurity(),
	}
	spec.InitContainers = slices.Insert(spec.InitContainers, 0, setup)
	spec.Volumes = append(spec.Volumes, emptyDir(AgentVolume))
	executor.VolumeMounts = append(executor.VolumeMounts, corev1.VolumeMount{Name: AgentVolume, MountPath: AgentDir, ReadOnly: true})
}

func emptyDir(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
}

// setupResources returns CPU and memory as the executor has them. Init
// containers run before it and not beside it, so the pod as a whole asks for no
// more, stays in its class of service, and satisfies a quota that wants every container limited.
func setupResources(executor corev1.ResourceRequirements) corev1.ResourceRequirements {
	pick := func(list corev1.ResourceList) corev1.ResourceList {
		var picked corev1.ResourceList
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			if quantity, ok := list[name]; ok {
				if picked == nil {
					picked = corev1.ResourceList{}
				}
				picked[name] = quantity.DeepCopy()
			}
		}
		return picked
	}
	return corev1.ResourceRequirements{Limits: pick(executor.Limits), Requests: pick(executor.Requests)}
}

// wrap makes the agent the container's first process and has it run what the
// container ran.
func wrap(executor *corev1.Container, agent Agent, workDir string, keepHome bool) {
	in := func(name string) string { return path.Join(AgentDir, name) }
	own := slices.Concat(executor.Command, executor.Args)
	executor.Command = []string{
		in(wire.AgentFile), "serve",
		"--listen-tls", ":" + strconv.Itoa(int(agent.Port)),
		"--tls-cert", in(wire.CertFile), "--tls-key", in(wire.KeyFile), "--client-ca", in(wire.ClientCAFile),
		"--pod-uid", "$(" + uidVariable + ")",
		"--work-dir", literal(workDir),
	}
	if !keepHome {
		executor.Command = append(executor.Command, "--home", homeDir)
	}
	executor.Args = nil
	if len(own) > 0 {
		executor.Args = append([]string{"--"}, own...)
	}
	uid := corev1.EnvVar{Name: uidVariable, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.uid"}}}
	executor.Env = append([]corev1.EnvVar{uid}, executor.Env...)
	executor.Ports = append(executor.Ports, corev1.ContainerPort{Name: agentPort, ContainerPort: agent.Port, Protocol: corev1.ProtocolTCP})
	if executor.TerminationMessagePolicy == "" {
		// So that the pod says why the agent ended.
		executor.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
	}
	// An agent that is started again has forgotten what it ran.
	executor.RestartPolicy, executor.RestartPolicyRules = nil, nil
}

// literal keeps a cluster from expanding variables in an argument.
func literal(argument string) string { return strings.ReplaceAll(argument, "$(", "$$(") }

// Read returns what a pod was made for. What depends on its status is left empty.
func Read(pod *corev1.Pod) podruntime.Pod {
	return podruntime.Pod{
		Key:          podruntime.Key{Namespace: pod.Namespace, Name: pod.Name},
		UID:          pod.UID,
		Pool:         pod.Labels[podruntime.LabelPool],
		PoolUID:      types.UID(pod.Labels[podruntime.LabelPoolUID]),
		TemplateHash: pod.Labels[podruntime.LabelTemplateHash],
		WorkDir:      pod.Annotations[AnnotationWorkDir],
		CreatedAt:    pod.CreationTimestamp.Time,
	}
}

// Executor returns the name of the container in which steps run in a pod of ours.
func Executor(pod *corev1.Pod) string { return pod.Annotations[AnnotationContainer] }

// AgentPort returns where the agent of a pod of ours listens, which is not where
// those of pods made later do if the server was told otherwise since; 0 if the
// pod does not say.
func AgentPort(pod *corev1.Pod) int32 {
	for i := range pod.Spec.Containers {
		for _, port := range pod.Spec.Containers[i].Ports {
			if port.Name == agentPort {
				return port.ContainerPort
			}
		}
	}
	return 0
}

func invalid(field, problem string) error {
	return fmt.Errorf("%w: %s: %s", podruntime.ErrInvalid, field, problem)
}
