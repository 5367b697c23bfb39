package kube

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testingclock "k8s.io/utils/clock/testing"

	"arl.io/arl/pkg/podruntime"
)

// reported returns a change of a pod's Ready condition, as a node makes it.
func reported(status corev1.ConditionStatus, reason, message string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status, Reason: reason, Message: message}}
	}
}

// unready waits until a pod is reported Ready, or unready for a reason.
func (h *harness) unready(name string, unready bool, reason string) podruntime.Pod {
	h.t.Helper()
	var found podruntime.Pod
	h.await(fmt.Sprintf("pod %s to be Ready, unready: %v, for %q", name, unready, reason), func(events []podruntime.Event) bool {
		last := lastOf(events, name)
		if last == nil || last.Pod.Phase != podruntime.Ready || last.Pod.Unready != unready || last.Pod.Reason != reason {
			return false
		}
		found = last.Pod
		return true
	})
	return found
}

var gatedTemplates = map[string]func(*corev1.PodSpec){
	"readiness probe": func(s *corev1.PodSpec) { s.Containers[0].ReadinessProbe = &corev1.Probe{} },
	"startup probe":   func(s *corev1.PodSpec) { s.Containers[0].StartupProbe = &corev1.Probe{} },
	"readiness gate": func(s *corev1.PodSpec) {
		s.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.com/checked"}}
	},
	"probe of another container": func(s *corev1.PodSpec) {
		s.Containers = append(s.Containers, corev1.Container{Name: "proxy", Image: "proxy", ReadinessProbe: &corev1.Probe{}})
	},
	"probe of a sidecar": func(s *corev1.PodSpec) {
		always := corev1.ContainerRestartPolicyAlways
		s.InitContainers = []corev1.Container{{Name: "proxy", Image: "proxy", RestartPolicy: &always, StartupProbe: &corev1.Probe{}}}
	},
}

// TestReadyCondition shows that a pod with probes or gates takes work only while its Ready condition is
// True: after its agent has answered, and at any later time.
func TestReadyCondition(t *testing.T) {
	for name, change := range gatedTemplates {
		t.Run(name, func(t *testing.T) {
			h := start(t)
			s := spec("a")
			change(&s.Template.Spec)
			created, err := h.runtime.Create(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			h.cluster.set("a", reported(corev1.ConditionFalse, "ContainersNotReady", "containers with unready status: [main]"))
			h.cluster.run("a")
			early := h.unready("a", true, "")
			if !strings.Contains(early.Message, "unready status: [main]") {
				t.Errorf("message: %q", early.Message)
			}
			h.cluster.set("a", reported(corev1.ConditionTrue, "", ""))
			h.unready("a", false, "")
			h.cluster.set("a", reported(corev1.ConditionFalse, "ContainersNotReady", "containers with unready status: [main]"))
			h.unready("a", true, podruntime.ReasonNotReady)
			// Who has the pod goes on.
			if err := h.echo("a", created.UID); err != nil {
				t.Error(err)
			}
			h.cluster.set("a", reported(corev1.ConditionTrue, "", ""))
			h.unready("a", false, "")
		})
	}
}

// TestReadyConditionIsNotAwaited shows that the agent's answer is enough where nothing is probed.
func TestReadyConditionIsNotAwaited(t *testing.T) {
	h := start(t)
	h.create("a")
	h.cluster.set("a", reported(corev1.ConditionFalse, "ContainersNotReady", ""))
	h.cluster.run("a")
	h.unready("a", false, "")
}

// TestWhyNotReady has a probe fail for so long that the pod's events are asked for the reason.
func TestWhyNotReady(t *testing.T) {
	clock := testingclock.NewFakeClock(time.Now())
	h := start(t, func(c *Config) { c.Clock, c.StartTimeout = clock, math.MaxInt64 })
	h.cluster.selectEvents()
	s := spec("a")
	gatedTemplates["readiness probe"](&s.Template.Spec)
	created, err := h.runtime.Create(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.cluster.client.CoreV1().Events(space).Create(t.Context(), &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "unhealthy"}, InvolvedObject: corev1.ObjectReference{UID: created.UID},
		Type: corev1.EventTypeWarning, Reason: "Unhealthy", Message: "Readiness probe failed: no such table", LastTimestamp: metav1.NewTime(clock.Now()),
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h.cluster.warnAbout(created.UID, "later", "not about the probe", clock.Now().Add(time.Minute))
	h.cluster.set("a", reported(corev1.ConditionFalse, "ContainersNotReady", ""))
	h.cluster.run("a")
	told := h.sweepUntil(clock, "the pod to say why it is not ready", "a", func(p podruntime.Pod) bool { return p.Unready && p.Reason != "" })
	if want := "Unhealthy: Readiness probe failed: no such table"; told.Reason != podruntime.ReasonNotReady || told.Message != want {
		t.Errorf("told of the pod: %+v, want message %q", told, want)
	}
	h.cluster.set("a", reported(corev1.ConditionTrue, "", ""))
	h.unready("a", false, "")
}
