package podspec

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"arl.io/arl/pkg/podruntime"
)

// Check says what Build makes of a spec whose template says something that the
// author may not have meant. If Build would refuse it, returns the same podruntime.ErrInvalid.
func Check(spec podruntime.Spec, agent Agent) (podruntime.Advice, error) {
	if err := check(spec, agent); err != nil {
		return podruntime.Advice{}, err
	}
	if remark := remarkOn(spec.Template); remark != "" {
		return podruntime.Advice{Reason: podruntime.ReasonNoCommand, Message: remark}, nil
	}
	return podruntime.Advice{}, nil
}

// check finds what a cluster would take and what could not work then. All else
// is left to the cluster to judge.
func check(spec podruntime.Spec, agent Agent) error {
	if spec.Template == nil {
		return invalid("template", "is missing")
	}
	if !path.IsAbs(spec.WorkDir) || path.Clean(spec.WorkDir) != spec.WorkDir {
		return invalid("workDir", "must be an absolute path in its shortest form")
	}
	pod := &spec.Template.Spec
	if len(pod.Containers) == 0 {
		return invalid("spec.containers", "needs a container")
	}
	if pod.OS != nil && pod.OS.Name != corev1.Linux {
		return invalid("spec.os.name", "must be linux: there is no agent for anything else")
	}
	if err := checkNames(pod); err != nil {
		return err
	}
	if err := checkPorts(pod, agent.Port); err != nil {
		return err
	}
	at := executorOf(pod)
	return checkExecutor(&pod.Containers[at], fmt.Sprintf("spec.containers[%d]", at))
}

// checkNames refuses names that are added to the pod.
func checkNames(pod *corev1.PodSpec) error {
	for i, v := range pod.Volumes {
		if v.Name == AgentVolume || v.Name == WorkVolume {
			return invalid(fmt.Sprintf("spec.volumes[%d].name", i), fmt.Sprintf("%q is taken by the server", v.Name))
		}
	}
	for _, taken := range []string{SetupContainer, WorkDirContainer} {
		named := func(c corev1.Container) bool { return c.Name == taken }
		if slices.ContainsFunc(pod.Containers, named) || slices.ContainsFunc(pod.InitContainers, named) {
			return invalid("spec.containers", fmt.Sprintf("the name %q is taken by the server", taken))
		}
	}
	return nil
}

// checkPorts refuses a container that says it listens where the agent does: all
// containers of a pod share one network.
func checkPorts(pod *corev1.PodSpec, port int32) error {
	for i := range pod.Containers {
		for j, p := range pod.Containers[i].Ports {
			if p.ContainerPort == port && (p.Protocol == "" || p.Protocol == corev1.ProtocolTCP) {
				return invalid(fmt.Sprintf("spec.containers[%d].ports[%d].containerPort", i, j),
					fmt.Sprintf("%d is the agent's: listen elsewhere, or start the server with another port for agents", port))
			}
		}
	}
	return nil
}

func checkExecutor(executor *corev1.Container, at string) error {
	if len(executor.Command) == 0 && len(executor.Args) > 0 {
		return invalid(at+".args", "needs command, too: which program the image would give them to is not known")
	}
	for i, m := range executor.VolumeMounts {
		if where := path.Clean(m.MountPath); where == AgentDir || strings.HasPrefix(where, AgentDir+"/") {
			return invalid(fmt.Sprintf("%s.volumeMounts[%d].mountPath", at, i), AgentDir+" is taken by the server")
		}
	}
	return nil
}
