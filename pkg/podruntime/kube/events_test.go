package kube

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"
	testingclock "k8s.io/utils/clock/testing"

	"arl.io/arl/pkg/podruntime"
)

// unprepared has a node take a pod and not get any further.
func unprepared(pod *corev1.Pod) {
	pod.Spec.NodeName = "node"
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionFalse}}
}

func prepared(pod *corev1.Pod) {
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue}}
}

// warnAbout has a node write an event about a pod.
func (c *cluster) warnAbout(uid types.UID, name, message string, at time.Time) {
	c.t.Helper()
	_, err := c.client.CoreV1().Events(space).Create(c.t.Context(), &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: name}, InvolvedObject: corev1.ObjectReference{UID: uid},
		Type: corev1.EventTypeWarning, Reason: "FailedMount", Message: message, LastTimestamp: metav1.NewTime(at),
	}, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
}

// selectEvents has the fake heed field selectors of lists of events, and counts the lists.
func (c *cluster) selectEvents() *int {
	lists := new(int)
	c.client.PrependReactor("list", "events", func(action clienttesting.Action) (bool, runtime.Object, error) {
		*lists++
		found, err := c.client.Tracker().List(action.GetResource(), corev1.SchemeGroupVersion.WithKind("Event"), action.GetNamespace())
		if err != nil {
			return true, nil, err
		}
		selector := action.(clienttesting.ListAction).GetListRestrictions().Fields
		selected := &corev1.EventList{}
		for _, event := range found.(*corev1.EventList).Items {
			if selector.Matches(fields.Set{"involvedObject.uid": string(event.InvolvedObject.UID), "type": event.Type}) {
				selected.Items = append(selected.Items, event)
			}
		}
		return true, selected, nil
	})
	return lists
}

// sweepUntil has the runtime look after its pods until what was last told of
// one of them is as wanted.
func (h *harness) sweepUntil(clock *testingclock.FakeClock, what, name string, done func(podruntime.Pod) bool) podruntime.Pod {
	h.t.Helper()
	timeout := time.After(deadline)
	for {
		told := h.told(name)
		if len(told) > 0 && done(told[len(told)-1].Pod) {
			return told[len(told)-1].Pod
		}
		clock.Step(sweepInterval)
		select {
		case <-time.After(time.Millisecond):
		case <-timeout:
			h.t.Fatalf("waited in vain for %s; told: %+v", what, told)
		}
	}
}

// TestUnprepared has a node fail to mount a volume of a pod, and manage it later.
func TestUnprepared(t *testing.T) {
	clock := testingclock.NewFakeClock(time.Now())
	begun := clock.Now()
	h := start(t, func(c *Config) { c.Clock, c.StartTimeout = clock, math.MaxInt64 })
	lists := h.cluster.selectEvents()
	pod := h.create("a")
	h.cluster.warnAbout(pod.UID, "new", `configmap "missing" not found`, clock.Now())
	h.cluster.warnAbout(pod.UID, "old", "something else", clock.Now().Add(-time.Minute))
	h.cluster.warnAbout("another pod", "others", "not ours", clock.Now().Add(time.Minute))
	h.cluster.set("a", unprepared)

	stuck := h.sweepUntil(clock, "the pod to say what it waits for", "a", func(p podruntime.Pod) bool { return p.Reason != "" })
	if want := `node "node" cannot set up the pod: FailedMount: configmap "missing" not found`; stuck.Phase != podruntime.Starting ||
		stuck.Reason != podruntime.ReasonStart || stuck.Message != want {
		t.Errorf("told of the pod: %+v, want %q", stuck, want)
	}
	// What the cluster says of the pod meanwhile does not hide it.
	told := len(h.told("a"))
	h.cluster.set("a", func(pod *corev1.Pod) { pod.Status.HostIP = "10.0.0.1" })
	h.cluster.set("a", prepared)
	freed := h.pod("a", podruntime.Starting, "")
	if more := h.told("a")[told:]; len(more) != 1 || !strings.Contains(freed.Message, "to start the containers") {
		t.Errorf("told of the pod when it went on: %+v", more)
	}
	h.cluster.run("a")
	// Who asks an agent that does not listen yet waits for the clock.
	h.sweepUntil(clock, "the pod to be ready", "a", func(p podruntime.Pod) bool { return p.Phase == podruntime.Ready })
	if passed := clock.Since(begun); *lists > 1+int(passed/explainInterval) {
		t.Errorf("events were listed %d times in %v", *lists, passed)
	}
}

// TestUnreadableEvents has a server that may not read events.
func TestUnreadableEvents(t *testing.T) {
	clock := testingclock.NewFakeClock(time.Now())
	h := start(t, func(c *Config) { c.Clock = clock })
	h.cluster.client.PrependReactor("list", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("forbidden")
	})
	h.create("a")
	h.cluster.set("a", unprepared)
	stuck := h.sweepUntil(clock, "the pod to say that it waits", "a", func(p podruntime.Pod) bool { return p.Reason != "" })
	if want := "kubectl describe pod -n space a"; !strings.Contains(stuck.Message, want) {
		t.Errorf("message: %q, want %q in it", stuck.Message, want)
	}
}
