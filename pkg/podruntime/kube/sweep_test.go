package kube

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"
	testingclock "k8s.io/utils/clock/testing"

	"arl.io/arl/pkg/podruntime"
)

// unheardOf makes a pod one on a node that is not heard of.
func unheardOf(pod *corev1.Pod) {
	pod.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.ContainersReady, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionFalse},
	}
}

func heardOf(pod *corev1.Pod) { pod.Status.Conditions = nil }

// TestLostNode has a node die, and another of which only the kubelet does.
func TestLostNode(t *testing.T) {
	h := start(t, impatient)
	alive, dead := h.ready("alive"), h.ready("dead")
	h.cluster.set("alive", unheardOf)
	if err := h.cluster.agent(dead.UID).cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	h.cluster.set("dead", unheardOf)
	failed := h.pod("dead", podruntime.Failed, podruntime.ReasonNodeLost)
	if !strings.Contains(failed.Message, `node "node" is not heard of`) {
		t.Errorf("message: %q", failed.Message)
	}
	// The other had as much time.
	if err := h.echo("alive", alive.UID); err != nil {
		t.Error(err)
	}
	h.cluster.set("alive", heardOf)
	h.awaitIdle("alive")
	if told := h.told("alive"); told[len(told)-1].Pod.Phase != podruntime.Ready {
		t.Errorf("told of the pod that lives: %+v", told)
	}
}

// awaitIdle waits until nobody asks a pod's agent any more.
func (h *harness) awaitIdle(name string) {
	h.t.Helper()
	for end := time.Now().Add(deadline); ; {
		h.runtime.mu.Lock()
		idle := h.runtime.pods[key(name)].stop == nil
		h.runtime.mu.Unlock()
		if idle {
			return
		}
		if time.Now().After(end) {
			h.t.Fatalf("the agent of %s is asked without end", name)
		}
		<-time.After(time.Millisecond)
	}
}

// deletions has the cluster's nodes not end any pod, and returns the graces of
// the deletions asked for.
func (c *cluster) deletions() <-chan int64 {
	graces := make(chan int64, 100)
	c.client.PrependReactor("delete", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		grace := *action.(clienttesting.DeleteActionImpl).DeleteOptions.GracePeriodSeconds
		if grace > 0 {
			c.set(action.(clienttesting.DeleteAction).GetName(), func(pod *corev1.Pod) {
				now := metav1.Now()
				pod.DeletionTimestamp = &now
			})
		}
		graces <- grace
		return grace > 0, nil, nil
	})
	return graces
}

// TestForcedDeletion has a node that does not end a pod.
func TestForcedDeletion(t *testing.T) {
	clock := testingclock.NewFakeClock(time.Now())
	h := start(t, func(c *Config) { c.Clock, c.DeleteTimeout = clock, time.Minute })
	graces := h.cluster.deletions()
	pod := h.create("a")
	if err := h.runtime.Delete(t.Context(), pod.Key, pod.UID); err != nil {
		t.Fatal(err)
	}
	if grace := <-graces; grace != gracePeriodSeconds {
		t.Errorf("grace of the deletion: %d", grace)
	}
	// A second call changes nothing.
	if err := h.runtime.Delete(t.Context(), pod.Key, pod.UID); err != nil {
		t.Error(err)
	}
	clock.Step(time.Minute - time.Second)
	clock.Step(time.Second)
	for {
		select {
		case grace := <-graces:
			if grace != 0 {
				t.Errorf("grace of the second deletion: %d", grace)
			}
		case <-time.After(time.Millisecond):
			// A tick may have come before the sweeper was there to hear it.
			clock.Step(sweepInterval)
			continue
		}
		break
	}
	h.gone("a")
	for _, event := range h.told("a") {
		if event.Pod.Phase == podruntime.Failed {
			t.Errorf("a deletion that was asked for was told as a failure: %+v", event)
		}
	}
}

// TestFailedDeletion has the API server refuse a deletion, and take it later.
func TestFailedDeletion(t *testing.T) {
	h := start(t)
	pod := h.ready("a")
	refuse := true
	h.cluster.client.PrependReactor("delete", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return refuse, nil, errors.New("etcd is on holiday")
	})
	if err := h.runtime.Delete(t.Context(), pod.Key, pod.UID); err == nil || errors.Is(err, podruntime.ErrNotFound) {
		t.Fatalf("Delete: %v", err)
	}
	if err := h.echo("a", pod.UID); err != nil {
		t.Errorf("a pod that was not deleted: %v", err)
	}
	refuse = false
	if err := h.runtime.Delete(t.Context(), pod.Key, pod.UID); err != nil {
		t.Fatal(err)
	}
	h.gone("a")
}

// TestDeletedUnseen has a pod come and go while the informer is cut off.
func TestDeletedUnseen(t *testing.T) {
	clock := testingclock.NewFakeClock(time.Now())
	c := newCluster(t)
	c.client.PrependWatchReactor("pods", func(clienttesting.Action) (bool, watch.Interface, error) {
		c.watchBegins()
		return true, watch.NewFake(), nil
	})
	h := startOn(t, c, func(c *Config) { c.Clock = clock })
	h.create("kept")
	pod := h.create("a")
	c.drop("a")
	h.await("the pod to be gone", func(events []podruntime.Event) bool {
		clock.Step(sweepInterval)
		if last := lastOf(events, "a"); last != nil && last.Deleted {
			return true
		}
		// Whatever is told next, look again soon.
		go h.nudge()
		return false
	})
	if got := h.gone("a"); got.UID != pod.UID {
		t.Errorf("gone: %+v", got)
	}
	if last := h.told("kept"); last[len(last)-1].Deleted {
		t.Error("a pod that is there was told to be gone")
	}
}

// TestMute has a pod that runs without having told its agent's key, as if the
// setup container's image were another one.
func TestMute(t *testing.T) {
	clock := testingclock.NewFakeClock(time.Now())
	h := start(t, func(c *Config) { c.Clock, c.StartTimeout = clock, time.Minute })
	h.create("a")
	h.cluster.set("a", running)
	h.pod("a", podruntime.Starting, podruntime.ReasonStart)
	failed := h.sweepUntil(clock, "the pod to fail", "a", func(p podruntime.Pod) bool { return p.Phase == podruntime.Failed })
	if failed.Reason != podruntime.ReasonStart || !strings.Contains(failed.Message, "agent's key") {
		t.Errorf("told of the pod: %+v", failed)
	}
}

// TestForgottenKey has a node forget the setup container of a pod that is Ready.
func TestForgottenKey(t *testing.T) {
	h := start(t)
	pod := h.ready("a")
	h.cluster.set("a", func(pod *corev1.Pod) {
		pod.Status.InitContainerStatuses, pod.Labels["touched"] = nil, "yes"
	})
	h.ready("b")
	if err := h.echo("a", pod.UID); err != nil {
		t.Error(err)
	}
}

// nudge has await look again.
func (h *recorder) nudge() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notifyLocked()
}

// TestDeleteBeforeTheAnswer asks for a pod's deletion while its creation is under way.
func TestDeleteBeforeTheAnswer(t *testing.T) {
	h := start(t)
	begun, answer := make(chan struct{}), make(chan struct{})
	h.cluster.client.PrependReactor("create", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		close(begun)
		<-answer
		return false, nil, nil
	})
	created := make(chan error, 1)
	go func() {
		_, err := h.runtime.Create(t.Context(), spec("a"))
		created <- err
	}()
	<-begun
	if err := h.runtime.Delete(t.Context(), key("a"), ""); err != nil {
		t.Error(err)
	}
	close(answer)
	if err := <-created; err != nil {
		t.Error(err)
	}
	h.gone("a")
}
