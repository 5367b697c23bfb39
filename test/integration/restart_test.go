package integration

import (
	"context"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// TestPodsLostWithoutAServer is what a reboot of the machine looks like.
func TestPodsLostWithoutAServer(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	n := newTenant(t, s)
	n.fillPool(hostPool("pool", 2))
	n.createSandbox(sandboxOf("x", "pool"))
	n.awaitPool("pool", 2)
	before := n.pods()
	n.createTask(taskIn("x", "runs", shell("step", "sleep 250")))
	n.createTask(taskIn("x", "waits", shell("step", "true")))
	n.awaitRunning("runs")

	s.mustKill(t)
	for _, uid := range before {
		n.killPod(uid)
	}
	s.mustStart(t)
	if got := n.awaitSandbox("x", v1alpha1.SandboxFailed).Status; got.Reason != v1alpha1.SandboxReasonPodLost {
		t.Errorf("the sandbox is %+v, want reason PodLost", got)
	}
	n.wantFailed(n.awaitEnd("runs"), v1alpha1.TaskReasonAgentLost, v1alpha1.FailureInfrastructure)
	if waited := n.awaitEnd("waits"); waited.Status.State != v1alpha1.TaskFailed || waited.Status.FailureClass != v1alpha1.FailureInfrastructure {
		t.Errorf("the task that had not been started is %s", describe(waited))
	}
	n.awaitPool("pool", 2)
	n.awaitPods("new pods", func(pods map[string]types.UID) bool {
		idle := 0
		for name := range pods {
			if before[name] == "" {
				idle++
			}
		}
		return idle == 2
	})
	n.createSandbox(sandboxOf("y", "pool"))
	n.awaitSandbox("y", v1alpha1.SandboxReady)
	n.output("y", "true")
}

// TestTimersOutliveTheServer has every timer of sandboxes and tasks run out while
// no server looks.
func TestTimersOutliveTheServer(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	n := newTenant(t, s)
	n.fillPool(hostPool("pool", 3))
	n.createPool(hostPool("empty", 0))
	n.createSandbox(sandboxOf("kept", "pool"))
	idle := sandboxOf("idle", "pool")
	idle.Spec.IdleTimeoutSeconds = ptr.To(int32(3))
	n.createSandbox(idle)
	mortal := sandboxOf("mortal", "pool")
	mortal.Spec.MaxLifetimeSeconds = ptr.To(int32(3))
	n.createSandbox(mortal)
	waiting := sandboxOf("waiting", "empty")
	waiting.Spec.AllocationTimeoutSeconds = ptr.To(int32(3))
	n.createSandbox(waiting)
	n.createTask(taskIn("mortal", "runs", shell("step", "sleep 250")))
	brief := taskIn("kept", "brief", shell("step", "true"))
	brief.Spec.TTLSecondsAfterFinished = ptr.To(int32(3))
	n.createTask(brief)
	timed := taskIn("kept", "timed", shell("step", "sleep 250"))
	timed.Spec.Timeout = "3s"
	n.createTask(timed)
	n.awaitRunning("timed")

	s.mustKill(t)
	s.mustStart(t)
	n.awaitGone("idle")
	n.awaitGone("mortal")
	n.wantFailed(n.awaitEnd("runs"), v1alpha1.TaskReasonSandboxFailed, v1alpha1.FailureInfrastructure)
	n.wantFailed(n.awaitEnd("timed"), v1alpha1.TaskReasonTimeout, v1alpha1.FailureUser)
	eventually(t, "the end of the finished task", func(ctx context.Context) error {
		_, err := n.tasks().Get(ctx, "brief", getNow)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there (%v)", err)
	})
	n.awaitSandbox("kept", v1alpha1.SandboxReady)
	n.awaitSandbox("waiting", v1alpha1.SandboxFailed)
}
