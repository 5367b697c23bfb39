package integration

import (
	"testing"

	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// TestReleasedPodIsNobodysAgain hands the only place of a pool from one sandbox
// to the next, which must find another pod and no file that the first left.
func TestReleasedPodIsNobodysAgain(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	pool := hostPool("pool", 1)
	pool.Spec.MaxPods = ptr.To(int32(1))
	n.FillPool(pool)
	first := n.CreateSandbox(sandboxOf("first", pool.Name))
	n.Output("first", "echo secret >/workspace/left; echo secret >/tmp/left")

	n.CreateSandbox(sandboxOf("next", pool.Name))
	if err := n.Sandboxes().Delete(t.Context(), "first", deleteNow); err != nil {
		t.Fatal(err)
	}
	next := n.AwaitSandbox("next", v1alpha1.SandboxReady)
	if next.Status.PodUID == first.Status.PodUID || next.Status.PodName == first.Status.PodName {
		t.Errorf("both sandboxes had pod %s", next.Status.PodName)
	}
	if got := n.Output("next", "cat /workspace/left /tmp/left 2>/dev/null; true"); got != "" {
		t.Errorf("the next tenant reads %q", got)
	}
}
