package phase

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/kube/podspec"
)

// identity is what the setup container tells.
var identity = func() string {
	encoded, err := json.Marshal(wire.Identity{PublicKeySHA256: []byte("key")})
	if err != nil {
		panic(err)
	}
	return string(encoded)
}()

// change makes a pod's status another one.
type change func(*corev1.Pod)

// podOf returns a pod of two containers that nobody has looked at yet.
func podOf(changes ...change) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{podspec.AnnotationContainer: "main"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main"}, {Name: "other"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, c := range changes {
		c(pod)
	}
	return pod
}

func onNode(pod *corev1.Pod) { pod.Spec.NodeName = "node" }

func prepared(pod *corev1.Pod) {
	onNode(pod)
	pod.Status.PodIP = "10.0.0.1"
	pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: podspec.SetupContainer, State: terminated(0, "Completed", identity)}}
}

func runs(pod *corev1.Pod) {
	prepared(pod)
	pod.Status.Phase = corev1.PodRunning
	executor(corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})(pod)
}

func executor(state corev1.ContainerState) change {
	return func(pod *corev1.Pod) {
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "other"}, {Name: "main", Image: "python", Ready: state.Running != nil, State: state}}
	}
}

func setup(state corev1.ContainerState) change {
	return func(pod *corev1.Pod) {
		pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: podspec.SetupContainer, Image: "arl", State: state}}
	}
}

func terminated(code int32, reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message}}
}

func waitsFor(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func conditions(list ...corev1.PodCondition) change {
	return func(pod *corev1.Pod) { pod.Status.Conditions = list }
}

func beingDeleted(pod *corev1.Pod) { pod.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }

func ends(phase corev1.PodPhase, reason, message string) change {
	return func(pod *corev1.Pod) {
		pod.Status.Phase, pod.Status.Reason, pod.Status.Message = phase, reason, message
	}
}

func unscheduledFor(reason, message string) change {
	return conditions(corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason, Message: message})
}

func disruption(reason, message string) change {
	return conditions(corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reason, Message: message})
}

func TestAssess(t *testing.T) {
	const starting, failed = podruntime.Starting, podruntime.Failed
	for _, tt := range []struct {
		name   string
		pod    []change
		phase  podruntime.Phase
		reason string
		// message is a part of the message.
		message string
		askable bool
	}{
		{"new", nil, starting, "", "waiting for a node", false},
		{"unschedulable", []change{unscheduledFor("Unschedulable", "0/3 nodes are available")}, starting, "Unschedulable", "0/3 nodes", false},
		{"gated", []change{unscheduledFor("SchedulingGated", "")}, starting, "SchedulingGated", "scheduling gates", false},
		{"on a node", []change{onNode}, starting, "", `node "node"`, false},
		{"creating", []change{onNode, executor(waitsFor("ContainerCreating", ""))}, starting, "", `node "node"`, false},
		{"agent's image missing", []change{onNode, setup(waitsFor("ErrImagePull", "not found"))}, starting, "ImagePullFailed", `image "arl" of container "arl-agent-setup": ErrImagePull: not found`, false},
		{"image missing", []change{prepared, executor(waitsFor("ImagePullBackOff", "back-off"))}, starting, "ImagePullFailed", `image "python" of container "main"`, true},
		{"image's name wrong", []change{prepared, executor(waitsFor("InvalidImageName", "x"))}, starting, "ImagePullFailed", "InvalidImageName: x", true},
		{"runs as root", []change{prepared, executor(waitsFor("CreateContainerConfigError", "container has runAsNonRoot"))}, starting, "StartFailed", "container has runAsNonRoot", true},
		{"secret missing", []change{prepared, executor(waitsFor("CreateContainerConfigError", `secret "a" not found`))}, starting, "StartFailed", `secret "a" not found`, true},
		{"image never pulled", []change{prepared, executor(waitsFor("ErrImageNeverPull", "absent"))}, starting, "ImagePullFailed", "absent", true},
		{"prepared", []change{prepared, executor(waitsFor("PodInitializing", ""))}, starting, "", `node "node"`, true},
		{"runs", []change{runs}, starting, "", "waiting for the agent", true},
		{"runs, key not told", []change{runs, setup(terminated(0, "Completed", "hello"))}, starting, "StartFailed", "has not reported the agent's key: set --agent-image", false},
		{"setup fails", []change{onNode, setup(terminated(1, "Error", "disk full\n")), ends(corev1.PodFailed, "", "")}, failed, "StartFailed", `init container "arl-agent-setup": exited with code 1: disk full`, false},
		{"setup runs out of memory", []change{onNode, setup(terminated(137, "OOMKilled", "")), ends(corev1.PodFailed, "", "")}, failed, "OOMKilled", "more memory than its limit", false},
		{"cannot be executed", []change{prepared, executor(terminated(128, "StartError", "no such file")), ends(corev1.PodFailed, "", "")}, failed, "StartFailed", "exited with code 128 (StartError): no such file", false},
		{"port taken", []change{prepared, executor(terminated(1, "Error", "address already in use"))}, failed, "Exited", "address already in use", false},
		{"out of memory", []change{prepared, executor(terminated(137, "OOMKilled", ""))}, failed, "OOMKilled", "more memory than its limit", false},
		{"killed", []change{prepared, executor(terminated(137, "Error", `{"time":"2026-01-01T00:00:00Z","msg":"serves"}`+"\nlast words\n"))}, failed, "Exited", "ended by signal 9: last words", false},
		{"exited", []change{prepared, executor(terminated(0, "Completed", "")), ends(corev1.PodSucceeded, "", "")}, failed, "Exited", "exited with code 0", false},
		{"started again", []change{runs, func(p *corev1.Pod) { p.Status.ContainerStatuses[1].RestartCount = 1 }}, failed, "Exited", "started again", false},
		{"other container ends", []change{runs, func(p *corev1.Pod) { p.Status.ContainerStatuses[0].State = terminated(1, "Error", "") }}, starting, "", "waiting for the agent", true},
		{"evicted", []change{runs, ends(corev1.PodFailed, "Evicted", "low on disk")}, failed, "Evicted", "low on disk", false},
		{"pod above its limit of storage", []change{runs, ends(corev1.PodFailed, "Evicted", "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ")}, failed, "DiskLimitExceeded", "total limit of containers 1Gi", false},
		{"container above its limit of storage", []change{runs, ends(corev1.PodFailed, "Evicted", "Container executor exceeded its local ephemeral storage limit \"1Gi\". ")}, failed, "DiskLimitExceeded", "storage limit", false},
		{"volume above its limit", []change{runs, ends(corev1.PodFailed, "Evicted", "Usage of EmptyDir volume \"work\" exceeds the limit \"1Gi\". ")}, failed, "DiskLimitExceeded", "EmptyDir", false},
		{"node shut down", []change{runs, ends(corev1.PodFailed, "Terminated", "node shutdown")}, failed, "Evicted", "node shutdown", false},
		{"not admitted", []change{onNode, ends(corev1.PodFailed, "OutOfcpu", "not enough")}, failed, "StartFailed", "OutOfcpu: not enough", false},
		{"deadline", []change{runs, ends(corev1.PodFailed, "DeadlineExceeded", "")}, failed, "Exited", "activeDeadlineSeconds", false},
		{"node lost", []change{runs, beingDeleted, ends(corev1.PodRunning, "NodeLost", "unresponsive")}, failed, "NodeLost", "unresponsive", false},
		{"tainted node", []change{runs, beingDeleted, disruption("DeletionByTaintManager", "taint")}, failed, "NodeLost", "taint", false},
		{"node gone", []change{runs, ends(corev1.PodFailed, "", ""), disruption("DeletionByPodGC", "node not found")}, failed, "NodeLost", "node not found", false},
		{"drained", []change{runs, beingDeleted, disruption("EvictionByEvictionAPI", "evicting")}, failed, "Evicted", "EvictionByEvictionAPI: evicting", false},
		{"preempted", []change{runs, beingDeleted, disruption("PreemptionByScheduler", "more important")}, failed, "Evicted", "more important", false},
		{"deletion tried, not begun", []change{runs, disruption("EvictionByEvictionAPI", "dry")}, starting, "", "waiting for the agent", true},
		{"deleted by hand", []change{runs, beingDeleted}, failed, "Deleted", "somebody deleted the pod", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			trimmed, err := Trim(podOf(tt.pod...))
			if err != nil {
				t.Fatal(err)
			}
			for name, pod := range map[string]*corev1.Pod{"whole": podOf(tt.pod...), "trimmed": trimmed.(*corev1.Pod)} {
				got := Assess(pod)
				if got.Phase != tt.phase || got.Reason != tt.reason || !strings.Contains(got.Message, tt.message) {
					t.Errorf("%s: %s, %q, %q; want %s, %q, %q", name, got.Phase, got.Reason, got.Message, tt.phase, tt.reason, tt.message)
				}
				if got.Askable() != tt.askable {
					t.Errorf("%s: askable: %v", name, got.Askable())
				}
				if strings.HasSuffix(got.Message, ": ") {
					t.Errorf("%s: message %q has no end", name, got.Message)
				}
			}
		})
	}
}

func TestAssessReadsTheStatus(t *testing.T) {
	want := State{Phase: podruntime.Starting, Message: "waiting for the agent", IP: "10.0.0.1", NodeName: "node", Key: []byte("key"), Running: true, OwnWorkDir: true}
	if diff := cmp.Diff(want, Assess(podOf(runs))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	unsure := conditions(corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionTrue},
		corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse})
	if !Assess(podOf(runs, unsure)).Doubtful {
		t.Error("a pod on a node that is not heard of is not doubted")
	}
	busy := conditions(corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionFalse},
		corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse})
	if Assess(podOf(runs, busy)).Doubtful {
		t.Error("a pod whose own probe fails is doubted")
	}
	gate := conditions(corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionTrue},
		corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "ReadinessGatesNotReady"})
	if Assess(podOf(runs, gate)).Doubtful {
		t.Error("a pod that waits for its readiness gates is doubted")
	}
}

// TestOwnWorkDir reads what the init container for the work directory has reported.
func TestOwnWorkDir(t *testing.T) {
	report := func(state corev1.ContainerState) change {
		return func(pod *corev1.Pod) {
			pod.Status.InitContainerStatuses = append(pod.Status.InitContainerStatuses, corev1.ContainerStatus{Name: podspec.WorkDirContainer, State: state})
		}
	}
	for _, tt := range []struct {
		name string
		pod  []change
		want bool
	}{
		{"it has not run", []change{onNode}, false},
		{"the pod has none, and runs", []change{runs}, true},
		{"the user needs the volume", []change{runs, report(terminated(0, "Completed", `{"uid":1000,"gid":1000}`))}, false},
		{"the user needs no volume", []change{runs, report(terminated(0, "Completed", `{"uid":0,"gid":0,"ownWorkDir":true}`))}, true},
		{"it failed", []change{prepared, report(terminated(1, "Error", `{"ownWorkDir":true}`))}, false},
		{"it reported nothing", []change{runs, report(terminated(0, "Completed", ""))}, false},
		{"it runs", []change{prepared, report(corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Assess(podOf(tt.pod...)).OwnWorkDir; got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestTrimLetsOthersPass(t *testing.T) {
	if got, err := Trim("x"); got != "x" || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}
