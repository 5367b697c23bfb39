package integration

import (
	"testing"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/api/meta"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime/local"
)

// TestAStoppedAgentFailsItsSandbox stops the agent of a sandbox in which a task runs whose timeout is
// far away.
func TestAStoppedAgentFailsItsSandbox(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.FillPool(hostPool("pool", 1))
	n.CreateSandbox(sandboxOf("x", "pool"))
	agent := n.podInit("x")
	running := taskIn("x", "runs", shell("step", "sleep 3000"))
	running.Spec.Timeout = "1h"
	n.CreateTask(running)
	n.AwaitRunning("runs")
	if err := unix.Kill(agent, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	got := n.AwaitSandbox("x", v1alpha1.SandboxFailed)
	if got.Status.Reason != v1alpha1.SandboxReasonAgentLost {
		t.Errorf("the sandbox has failed with %s: %s", got.Status.Reason, got.Status.Message)
	}
	n.wantFailed(n.AwaitEnd("runs"), v1alpha1.TaskReasonAgentLost, v1alpha1.FailureInfrastructure)
	n.AwaitPool("pool", 1)
}

// TestPodsWithoutALimitGetTheDefault reads which limit of memory a pool's condition names.
func TestPodsWithoutALimitGetTheDefault(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.FillPool(hostPool("pool", 1))
	pool := n.AwaitPool("pool", 1)
	accepted := meta.FindStatusCondition(pool.Status.Conditions, v1alpha1.WarmPoolConditionTemplateAccepted)
	if accepted == nil || accepted.Reason != local.ReasonDefaultMemory && accepted.Reason != local.ReasonUnlimited {
		t.Fatalf("the condition is %+v", accepted)
	}
	wantWords(t, accepted.Message, "memory", "pods are made from the template")
}
