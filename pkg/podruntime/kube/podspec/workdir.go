package podspec

import (
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/agent/wire"
)

// A work directory has to belong to the user of the steps: others cannot write in it, and git refuses
// to work in a directory of somebody else. Root can make it in the image's root file system. Another
// user cannot, an emptyDir belongs to root whatever fsGroup says, and who the user is stands in the
// image, which only the node has. So a container of the very image and user makes the directory in an
// emptyDir, of which the executor mounts just that directory. It needs no right that the executor does
// not have, so it runs wherever the executor may.

// homeDir is where the executor finds a home if the image has none for its user.
var homeDir = path.Join(AgentDir, wire.HomeSubPath)

// stagingDir is where WorkDirContainer finds WorkVolume.
const stagingDir = "/.arl-work"

// needsWorkVolume says that the executor's user may not be able to make the work directory. If the
// template mounts anything there, that is it.
func needsWorkVolume(spec *corev1.PodSpec, executor *corev1.Container, workDir string, agent Agent) bool {
	mounted := slices.ContainsFunc(executor.VolumeMounts, func(m corev1.VolumeMount) bool {
		at := path.Clean(m.MountPath)
		return at == workDir || strings.HasPrefix(workDir, strings.TrimSuffix(at, "/")+"/")
	})
	readOnly := ptr.Deref(executor.SecurityContext.ReadOnlyRootFilesystem, false)
	isRoot := runsAsRoot(spec, executor) && !readOnly
	return !mounted && !isRoot && !agent.OwnWorkDir && workDir != "/"
}

// addWorkVolume adds the volume and the init container that fills it, right after the one that brings
// the agent.
func addWorkVolume(spec *corev1.PodSpec, executor *corev1.Container, workDir string, keepHome bool) {
	command := []string{path.Join(AgentDir, wire.AgentFile), "workdir"}
	if keepHome {
		command = append(command, "--keep-home")
	}
	setup := corev1.Container{
		Name:            WorkDirContainer,
		Image:           executor.Image,
		ImagePullPolicy: executor.ImagePullPolicy,
		Command:         append(command, literal(workDir), stagingDir),
		Resources:       setupResources(executor.Resources),
		VolumeMounts: []corev1.VolumeMount{
			{Name: AgentVolume, MountPath: AgentDir, ReadOnly: true}, {Name: WorkVolume, MountPath: stagingDir},
		},
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext:          executor.SecurityContext.DeepCopy(),
	}
	spec.InitContainers = slices.Insert(spec.InitContainers, 1, setup)
	spec.Volumes = append(spec.Volumes, emptyDir(WorkVolume))
	executor.VolumeMounts = append(executor.VolumeMounts,
		corev1.VolumeMount{Name: WorkVolume, MountPath: workDir, SubPath: wire.WorkSubPath},
		corev1.VolumeMount{Name: WorkVolume, MountPath: homeDir, SubPath: wire.HomeSubPath})
}
