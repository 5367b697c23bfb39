package execute_test

import (
	"testing"

	"go.uber.org/goleak"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ready returns a harness with a sandbox "box" that is ready.
func ready(t *testing.T, h *schedulertest.Harness) (*schedulertest.Harness, *schedulertest.Agent) {
	t.Helper()
	h.Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	h.WaitIdle("pool", 1)
	box := h.CreateSandbox(schedulertest.Sandbox("box", "pool"))
	if box.Status.Phase != v1alpha1.SandboxReady {
		t.Fatalf("the sandbox is %s", box.Status.Phase)
	}
	return h, h.Runtime.Pod(box.Status.PodName).Agent
}
