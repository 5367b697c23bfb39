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
	n.FillPool(hostPool("pool", 2))
	n.CreateSandbox(sandboxOf("x", "pool"))
	n.AwaitPool("pool", 2)
	before := n.pods()
	n.CreateTask(taskIn("x", "runs", shell("step", "sleep 250")))
	n.CreateTask(taskIn("x", "waits", shell("step", "true")))
	n.AwaitRunning("runs")

	s.mustKill(t)
	for _, uid := range before {
		n.killPod(uid)
	}
	s.mustStart(t)
	if got := n.AwaitSandbox("x", v1alpha1.SandboxFailed).Status; got.Reason != v1alpha1.SandboxReasonPodLost {
		t.Errorf("the sandbox is %+v, want reason PodLost", got)
	}
	n.wantFailed(n.AwaitEnd("runs"), v1alpha1.TaskReasonAgentLost, v1alpha1.FailureInfrastructure)
	if waited := n.AwaitEnd("waits"); waited.Status.State != v1alpha1.TaskFailed || waited.Status.FailureClass != v1alpha1.FailureInfrastructure {
		t.Errorf("the task that had not been started is %s", describe(waited))
	}
	n.AwaitPool("pool", 2)
	n.awaitPods("new pods", func(pods map[string]types.UID) bool {
		idle := 0
		for name := range pods {
			if before[name] == "" {
				idle++
			}
		}
		return idle == 2
	})
	n.CreateSandbox(sandboxOf("y", "pool"))
	n.AwaitSandbox("y", v1alpha1.SandboxReady)
	n.Output("y", "true")
}

// TestTimersOutliveTheServer has every timer of sandboxes and tasks run out while
// no server looks.
func TestTimersOutliveTheServer(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	n := newTenant(t, s)
	n.FillPool(hostPool("pool", 3))
	n.CreatePool(barrenPool("empty"))
	n.CreateSandbox(sandboxOf("kept", "pool"))
	idle := sandboxOf("idle", "pool")
	idle.Spec.IdleTimeoutSeconds = ptr.To(int32(3))
	n.CreateSandbox(idle)
	mortal := sandboxOf("mortal", "pool")
	mortal.Spec.MaxLifetimeSeconds = ptr.To(int32(3))
	n.CreateSandbox(mortal)
	waiting := sandboxOf("waiting", "empty")
	waiting.Spec.AllocationTimeoutSeconds = ptr.To(int32(3))
	n.CreateSandbox(waiting)
	n.CreateTask(taskIn("mortal", "runs", shell("step", "sleep 250")))
	brief := taskIn("kept", "brief", shell("step", "true"))
	brief.Spec.TTLSecondsAfterFinished = ptr.To(int32(3))
	n.CreateTask(brief)
	timed := taskIn("kept", "timed", shell("step", "sleep 250"))
	timed.Spec.Timeout = "3s"
	n.CreateTask(timed)
	n.AwaitRunning("timed")

	s.mustKill(t)
	s.mustStart(t)
	n.AwaitNoSandbox("idle")
	n.AwaitNoSandbox("mortal")
	n.wantFailed(n.AwaitEnd("runs"), v1alpha1.TaskReasonSandboxExpired, v1alpha1.FailureUser)
	n.wantFailed(n.AwaitEnd("timed"), v1alpha1.TaskReasonTimeout, v1alpha1.FailureUser)
	eventually(t, "the end of the finished task", func(ctx context.Context) error {
		_, err := n.Tasks().Get(ctx, "brief", getNow)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there (%v)", err)
	})
	n.AwaitSandbox("kept", v1alpha1.SandboxReady)
	n.AwaitSandbox("waiting", v1alpha1.SandboxFailed)
}
