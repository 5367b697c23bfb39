package kube

import (
	"encoding/json"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/kube/podspec"
)

// TestWorkDirIsLearned shows that the pods of a template get a container for the work directory until
// one has found out that its user needs none, and again after one could not do without.
func TestWorkDirIsLearned(t *testing.T) {
	h := start(t)
	furnished := func(name string) bool {
		h.create(name)
		return slices.ContainsFunc(h.cluster.get(name).Spec.InitContainers, func(c corev1.Container) bool {
			return c.Name == podspec.WorkDirContainer
		})
	}
	report := func(name string, own bool) {
		message, err := json.Marshal(wire.WorkDirReport{UID: 1000, OwnWorkDir: own})
		if err != nil {
			t.Fatal(err)
		}
		h.cluster.set(name, func(pod *corev1.Pod) {
			pod.Spec.NodeName = "node"
			pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{
				Name:  podspec.WorkDirContainer,
				State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: string(message)}},
			}}
		})
		h.await("the node of pod "+name, func(events []podruntime.Event) bool {
			last := lastOf(events, name)
			return last != nil && last.Pod.NodeName == "node"
		})
	}
	if !furnished("first") {
		t.Error("the first pod has no container for the work directory")
	}
	report("first", false)
	if !furnished("needy") {
		t.Error("a pod whose user needs the volume does not get it")
	}
	report("needy", true)
	if furnished("able") {
		t.Error("a pod whose user needs no volume got one")
	}
	h.cluster.set("able", func(pod *corev1.Pod) {
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name:  podspec.Executor(pod),
			State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Message: "arl-agent: work directory: permission denied"}},
		}}
	})
	h.pod("able", podruntime.Failed, podruntime.ReasonStart)
	if !furnished("last") {
		t.Error("after a pod without the volume has failed, the next has none either")
	}
}
