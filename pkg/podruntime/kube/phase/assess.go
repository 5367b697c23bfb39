// Package phase reads from a Kubernetes pod's status where the pod stands, in
// the terms of package podruntime. It is pure.
//
// A cluster never says that a pod is Ready in our sense: only its agent does.
// So what is read here is Starting, with what the pod waits for, or Failed, with
// why; and whether and how the agent can be asked.
package phase

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/kube/podspec"
)

// State is where a pod stands.
type State struct {
	// Phase is Starting or Failed.
	Phase           podruntime.Phase
	Reason, Message string

	IP, NodeName string
	// Port is where the agent listens.
	Port int32
	// Key is the SHA-256 sum of the agent's public key, as the kubelet has
	// reported it; nil until the setup container has ended.
	Key []byte
	// Running says that the executor runs.
	Running bool
	// OwnWorkDir says that the executor's user has a work directory and a home without a volume for
	// them: the init container that makes the volume has reported so, or the pod runs without one.
	OwnWorkDir bool
	// Unprepared says that the node has yet to set up the pod's volumes and
	// network. What keeps it from that, it writes into events and not into the status.
	Unprepared bool
	// NotReady says why the pod may take no work although its agent answers: its Ready condition is not
	// True. It is empty if the pod has neither probes nor readiness gates: then the agent's answer says
	// all that the condition would, and says it up to a second earlier.
	NotReady string
	// Doubtful says that all containers are said to be ready, and the pod not to be
	// all the same: as a rule its node has not been heard of for a while.
	Doubtful bool
}

// Askable says that there is somebody to ask, perhaps not listening yet.
func (s State) Askable() bool {
	return s.Phase == podruntime.Starting && s.IP != "" && len(s.Key) > 0
}

// verdict is a phase with a reason; a nil one says nothing.
type verdict struct {
	phase           podruntime.Phase
	reason, message string
}

func failed(reason, format string, args ...any) *verdict {
	return &verdict{podruntime.Failed, reason, say(format, args...)}
}

func waits(reason, format string, args ...any) *verdict {
	return &verdict{podruntime.Starting, reason, say(format, args...)}
}

// say formats a message whose last part the cluster may have left empty.
func say(format string, args ...any) string {
	return strings.TrimSuffix(fmt.Sprintf(format, args...), ": ")
}

// Assess reads a pod.
func Assess(pod *corev1.Pod) State {
	executor := statusOf(pod.Status.ContainerStatuses, podspec.Executor(pod))
	state := State{
		IP: pod.Status.PodIP, NodeName: pod.Spec.NodeName, Port: podspec.AgentPort(pod), Key: agentKey(pod),
		Running: executor != nil && executor.State.Running != nil,
	}
	state.OwnWorkDir = ownWorkDir(pod, state.Running)
	state.Unprepared = pod.Spec.NodeName != "" && is(pod, corev1.PodReadyToStartContainers, corev1.ConditionFalse)
	state.NotReady = notReady(pod)
	state.Doubtful = doubtful(pod, state.Running)
	for _, judge := range []func(*corev1.Pod, *corev1.ContainerStatus) *verdict{
		deleted, ended, executorEnded, waiting, unscheduled, preparing,
	} {
		if v := judge(pod, executor); v != nil {
			state.Phase, state.Reason, state.Message = v.phase, v.reason, v.message
			return state
		}
	}
	return state
}

// statusOf returns the status of a container, or nil.
func statusOf(statuses []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	i := slices.IndexFunc(statuses, func(s corev1.ContainerStatus) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &statuses[i]
}

// condition returns a condition of the pod, or nil.
func condition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	i := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind })
	if i < 0 {
		return nil
	}
	return &pod.Status.Conditions[i]
}

// is says that a condition has been set to a status.
func is(pod *corev1.Pod, kind corev1.PodConditionType, status corev1.ConditionStatus) bool {
	c := condition(pod, kind)
	return c != nil && c.Status == status
}

// readinessGatesNotReady is the kubelet's reason for a Ready condition that waits for gates alone.
const readinessGatesNotReady = "ReadinessGatesNotReady"

// notReady reads State.NotReady.
func notReady(pod *corev1.Pod) string {
	if !gated(pod) || is(pod, corev1.PodReady, corev1.ConditionTrue) {
		return ""
	}
	ready := condition(pod, corev1.PodReady)
	if ready == nil {
		return "waiting for the pod's Ready condition"
	}
	return say("the pod's Ready condition is %s: %s: %s", ready.Status, ready.Reason, ready.Message)
}

// gated says that the pod has probes or gates by which its node finds out whether it is ready.
func gated(pod *corev1.Pod) bool {
	probed := func(c corev1.Container) bool { return c.ReadinessProbe != nil || c.StartupProbe != nil }
	return len(pod.Spec.ReadinessGates) > 0 || slices.ContainsFunc(pod.Spec.Containers, probed) ||
		slices.ContainsFunc(pod.Spec.InitContainers, probed)
}

// doubtful reads State.Doubtful.
func doubtful(pod *corev1.Pod, running bool) bool {
	ready := condition(pod, corev1.PodReady)
	return running && is(pod, corev1.ContainersReady, corev1.ConditionTrue) &&
		ready != nil && ready.Status == corev1.ConditionFalse && ready.Reason != readinessGatesNotReady
}

// agentKey returns what the setup container has told.
func agentKey(pod *corev1.Pod) []byte {
	setup := statusOf(pod.Status.InitContainerStatuses, podspec.SetupContainer)
	if setup == nil || setup.State.Terminated == nil || setup.State.Terminated.ExitCode != 0 {
		return nil
	}
	var identity wire.Identity
	if json.Unmarshal([]byte(setup.State.Terminated.Message), &identity) != nil || len(identity.PublicKeySHA256) > sha256.Size {
		return nil
	}
	return identity.PublicKeySHA256
}

// ownWorkDir reads State.OwnWorkDir.
func ownWorkDir(pod *corev1.Pod, running bool) bool {
	setup := statusOf(pod.Status.InitContainerStatuses, podspec.WorkDirContainer)
	if setup == nil {
		return running
	}
	if setup.State.Terminated == nil || setup.State.Terminated.ExitCode != 0 {
		return false
	}
	var report wire.WorkDirReport
	return json.Unmarshal([]byte(setup.State.Terminated.Message), &report) == nil && report.OwnWorkDir
}

// nameOf returns the container that a status is of, for users: the one that makes the executor's work
// directory has the executor's image and user, so what is wrong with it is wrong with the executor.
func nameOf(pod *corev1.Pod, status *corev1.ContainerStatus) string {
	if status.Name == podspec.WorkDirContainer {
		return podspec.Executor(pod)
	}
	return status.Name
}

// deleted judges a pod that is being taken away. Its agent stops what runs as
// soon as it is told, so nothing is to be hoped for from the grace that is left.
func deleted(pod *corev1.Pod, _ *corev1.ContainerStatus) *verdict {
	disruption := condition(pod, corev1.DisruptionTarget)
	disrupted := disruption != nil && disruption.Status == corev1.ConditionTrue
	switch {
	case pod.Status.Reason == "NodeLost" && pod.DeletionTimestamp != nil,
		disrupted && disruption.Reason == "DeletionByTaintManager",
		disrupted && disruption.Reason == "DeletionByPodGC":
		message := pod.Status.Message
		if disrupted {
			message = disruption.Message
		}
		return failed(podruntime.ReasonNodeLost, "node %q is lost or gone: %s", pod.Spec.NodeName, message)
	case disrupted && (pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodFailed):
		return failed(podruntime.ReasonEvicted, "%s: %s", disruption.Reason, disruption.Message)
	case pod.DeletionTimestamp != nil:
		return failed(podruntime.ReasonDeleted, "somebody deleted the pod")
	}
	return nil
}

// ended judges a pod that has ended as a whole, for a reason of its own.
func ended(pod *corev1.Pod, executor *corev1.ContainerStatus) *verdict {
	if pod.Status.Phase != corev1.PodFailed && pod.Status.Phase != corev1.PodSucceeded {
		return nil
	}
	switch pod.Status.Reason {
	case "Evicted", "Preempting", "Shutdown", "NodeShutdown", "Terminated":
		return failed(evictionReason(pod.Status.Message), "%s", pod.Status.Message)
	case "NodeLost":
		return failed(podruntime.ReasonNodeLost, "%s", pod.Status.Message)
	case "DeadlineExceeded":
		return failed(podruntime.ReasonExited, "the template's activeDeadlineSeconds is over: %s", pod.Status.Message)
	case "":
	default:
		// The node did not take the pod, for instance OutOfcpu or NodeAffinity.
		return failed(podruntime.ReasonStart, "%s: %s", pod.Status.Reason, pod.Status.Message)
	}
	if executor != nil && executor.State.Terminated != nil {
		return nil
	}
	for i := range pod.Status.InitContainerStatuses {
		s := &pod.Status.InitContainerStatuses[i]
		if t := s.State.Terminated; t != nil && t.ExitCode != 0 {
			return failed(reasonOf(t, podruntime.ReasonStart), "init container %q: %s", s.Name, exit(t))
		}
	}
	return failed(podruntime.ReasonExited, "the pod has ended: %s", pod.Status.Message)
}

// storageEvictions are what kubelets say of a pod that they evict for the disk space it takes beyond its
// own limits.
var storageEvictions = []string{
	"ephemeral local storage usage exceeds the total limit", "exceeded its local ephemeral storage limit",
	"Usage of EmptyDir volume",
}

// evictionReason tells a pod that exceeded its own limits from one that the node took away.
func evictionReason(message string) string {
	for _, phrase := range storageEvictions {
		if strings.Contains(message, phrase) {
			return podruntime.ReasonDiskLimit
		}
	}
	return podruntime.ReasonEvicted
}

// executorEnded judges a pod whose agent is gone or not the first one.
func executorEnded(_ *corev1.Pod, executor *corev1.ContainerStatus) *verdict {
	switch {
	case executor == nil:
		return nil
	case executor.State.Terminated != nil:
		t := executor.State.Terminated
		return failed(reasonOf(t, podruntime.ReasonExited), "the agent in container %q: %s", executor.Name, exit(t))
	case executor.RestartCount > 0:
		return failed(podruntime.ReasonExited, "container %q was started again, so what ran in it is lost", executor.Name)
	}
	return nil
}

func reasonOf(t *corev1.ContainerStateTerminated, otherwise string) string {
	switch t.Reason {
	case "OOMKilled":
		return podruntime.ReasonOOM
	case "StartError", "ContainerCannotRun", "RunContainerError", "CreateContainerError":
		return podruntime.ReasonStart
	}
	return otherwise
}

// signalled is what runtimes add to the number of a signal to make an exit code.
const signalled = 128

// exit describes the end of a container.
func exit(t *corev1.ContainerStateTerminated) string {
	if t.Reason == "OOMKilled" {
		return "the kernel ended it: it used more memory than its limit"
	}
	text := fmt.Sprintf("exited with code %d", t.ExitCode)
	switch {
	case t.Signal != 0:
		text = fmt.Sprintf("ended by signal %d", t.Signal)
	case t.ExitCode > signalled && t.ExitCode < signalled+64:
		text = fmt.Sprintf("ended by signal %d", t.ExitCode-signalled)
	}
	if t.Reason != "" && t.Reason != "Error" && t.Reason != "Completed" {
		text += " (" + t.Reason + ")"
	}
	if words := lastWords(t.Message); words != "" {
		text += ": " + words
	}
	return text
}

// lastWords drops the agent's log from a termination message, which is the end
// of all that the container printed if it left no other.
func lastWords(message string) string {
	var words []string
	for line := range strings.Lines(message) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, `{"time":`) {
			words = append(words, line)
		}
	}
	return strings.Join(words, "; ")
}

// waiting judges a pod of which a container cannot be started for now. The node
// tries again.
func waiting(pod *corev1.Pod, _ *corev1.ContainerStatus) *verdict {
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range statuses {
			w, name := statuses[i].State.Waiting, nameOf(pod, &statuses[i])
			if w == nil {
				continue
			}
			switch w.Reason {
			case "", "ContainerCreating", "PodInitializing":
			case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed":
				return waits(podruntime.ReasonImagePull, "image %q of container %q: %s: %s", statuses[i].Image, name, w.Reason, w.Message)
			default:
				return waits(podruntime.ReasonStart, "container %q: %s: %s", name, w.Reason, w.Message)
			}
		}
	}
	return nil
}

// unscheduled judges a pod that has no node yet.
func unscheduled(pod *corev1.Pod, _ *corev1.ContainerStatus) *verdict {
	scheduled := condition(pod, corev1.PodScheduled)
	if pod.Spec.NodeName != "" || scheduled == nil || scheduled.Status != corev1.ConditionFalse {
		return nil
	}
	if scheduled.Reason == corev1.PodReasonSchedulingGated {
		return waits(podruntime.ReasonSchedulingGated, "the pod has scheduling gates: %s", scheduled.Message)
	}
	return waits(podruntime.ReasonUnschedulable, "%s", scheduled.Message)
}

// preparing judges the rest: all is well, as far as the cluster can say.
func preparing(pod *corev1.Pod, executor *corev1.ContainerStatus) *verdict {
	switch {
	case executor != nil && executor.State.Running != nil && agentKey(pod) == nil:
		// Not Failed: a node may forget an init container, and the server may know the key.
		return waits(podruntime.ReasonStart,
			"the init container %q has not reported the agent's key: set --agent-image to the image of this server", podspec.SetupContainer)
	case executor != nil && executor.State.Running != nil:
		return waits("", "waiting for the agent")
	case pod.Spec.NodeName == "":
		return waits("", "waiting for a node")
	default:
		return waits("", "waiting for node %q to start the containers", pod.Spec.NodeName)
	}
}
