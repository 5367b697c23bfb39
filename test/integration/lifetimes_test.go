package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// brief is a sandbox that ends after a second without tasks.
func brief(name string) *v1alpha1.Sandbox {
	sandbox := sandboxOf(name, "pool")
	sandbox.Spec.KeepAlive, sandbox.Spec.IdleTimeoutSeconds = false, ptr.To(int32(1))
	return sandbox
}

func TestIdleSandboxIsDeleted(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	pool := hostPool("pool", 1)
	pool.Spec.IdleTimeoutSeconds = ptr.To(int32(1))
	n.CreatePool(pool)

	// The pool's timeout is not for those that are kept alive.
	n.CreateSandbox(sandboxOf("kept", "pool"))
	n.AwaitSandbox("kept", v1alpha1.SandboxReady)
	ofPool := sandboxOf("of-pool", "pool")
	ofPool.Spec.KeepAlive = false
	own := sandboxOf("own", "pool")
	own.Spec.IdleTimeoutSeconds = ptr.To(int32(1))
	for _, sandbox := range []*v1alpha1.Sandbox{brief("brief"), ofPool, own} {
		n.CreateSandbox(sandbox)
		n.AwaitNoSandbox(sandbox.Name)
	}
	if got := n.AwaitSandbox("kept", v1alpha1.SandboxReady); got.DeletionTimestamp != nil {
		t.Error("the sandbox that is kept alive is deleted")
	}
	n.awaitPods("the pods of the sandbox that is kept, and of the pool", func(pods map[string]types.UID) bool { return len(pods) == 2 })

	// A timeout that is set later counts, too.
	if _, err := n.Sandboxes().Patch(t.Context(), "kept", types.MergePatchType, []byte(`{"spec":{"idleTimeoutSeconds":1}}`), patchNow); err != nil {
		t.Fatal(err)
	}
	n.AwaitNoSandbox("kept")
}

// TestSandboxIsNotIdleDuringATask has a task run, and another wait, for longer
// than the sandbox may be idle.
func TestSandboxIsNotIdleDuringATask(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.FillPool(hostPool("pool", 1))
	n.CreateSandbox(brief("x"))
	n.CreateTask(taskIn("x", "long", shell("step", "sleep 3")))
	n.CreateTask(taskIn("x", "behind", shell("step", "sleep 2")))
	for _, name := range []string{"long", "behind"} {
		if done := n.AwaitEnd(name); done.Status.State != v1alpha1.TaskSucceeded {
			t.Errorf("task %s: %s", name, describe(done))
		}
	}
	n.AwaitNoSandbox("x")
	n.AwaitPool("pool", 1)
}

func TestLifetimeEndsASandboxAndItsTask(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.FillPool(hostPool("pool", 1))
	sandbox := sandboxOf("x", "pool")
	sandbox.Spec.MaxLifetimeSeconds = ptr.To(int32(2))
	n.CreateSandbox(sandbox)
	n.CreateTask(taskIn("x", "long", shell("step", "sleep 250")))
	n.CreateTask(taskIn("x", "behind", shell("step", "true")))
	n.AwaitNoSandbox("x")
	for _, name := range []string{"long", "behind"} {
		n.wantFailed(n.AwaitEnd(name), v1alpha1.TaskReasonSandboxExpired, v1alpha1.FailureUser)
	}
	n.AwaitPool("pool", 1)
	n.awaitPods("the idle pod and no other", func(pods map[string]types.UID) bool { return len(pods) == 1 })
}

func TestAllocationTimeout(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	pool := hostPool("pool", 1)
	pool.Spec.MaxPods = ptr.To(int32(1))
	n.FillPool(pool)
	n.CreateSandbox(sandboxOf("holder", "pool"))
	n.CreateSandbox(sandboxOf("patient", "pool"))
	for _, test := range []struct {
		name    string
		timeout int32
	}{{"at-once", 0}, {"soon", 1}} {
		sandbox := sandboxOf(test.name, "pool")
		sandbox.Spec.AllocationTimeoutSeconds = ptr.To(test.timeout)
		n.CreateSandbox(sandbox)
		n.CreateTask(taskIn(test.name, "of-"+test.name, shell("step", "true")))
		got := n.AwaitSandbox(test.name, v1alpha1.SandboxFailed).Status
		if got.Reason != v1alpha1.SandboxReasonAllocationTimeout || got.Message == "" || got.PodName != "" || got.QueuePosition != nil {
			t.Errorf("sandbox %s is %+v, want reason AllocationTimeout, a message and no pod", test.name, got)
		}
		failed := n.AwaitEnd("of-" + test.name)
		n.wantFailed(failed, v1alpha1.TaskReasonAllocationTimeout, v1alpha1.FailureInfrastructure)
	}

	// Who has no timeout gets the next pod; those that gave up do not.
	n.AwaitSandbox("patient", v1alpha1.SandboxPending)
	if err := n.Sandboxes().Delete(t.Context(), "holder", deleteNow); err != nil {
		t.Fatal(err)
	}
	n.AwaitSandbox("patient", v1alpha1.SandboxReady)
	n.AwaitSandbox("at-once", v1alpha1.SandboxFailed)
}

// TestAllocationTimeoutOfThePool holds for sandboxes without their own, also if it
// is set while they wait.
func TestAllocationTimeoutOfThePool(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	pool := hostPool("pool", 1)
	pool.Spec.MaxPods = ptr.To(int32(1))
	n.FillPool(pool)
	n.CreateSandbox(sandboxOf("holder", "pool"))
	n.CreateSandbox(sandboxOf("x", "pool"))
	own := sandboxOf("own", "pool")
	own.Spec.AllocationTimeoutSeconds = ptr.To(int32(3600))
	n.CreateSandbox(own)
	if _, err := n.Pools().Patch(t.Context(), "pool", types.MergePatchType, []byte(`{"spec":{"allocationTimeoutSeconds":1}}`), patchNow); err != nil {
		t.Fatal(err)
	}
	if got := n.AwaitSandbox("x", v1alpha1.SandboxFailed).Status; got.Reason != v1alpha1.SandboxReasonAllocationTimeout ||
		!strings.Contains(got.Message, "spec.maxPods") {
		t.Errorf("the sandbox is %+v, want reason AllocationTimeout, and what it waited for", got)
	}
	n.AwaitSandbox("own", v1alpha1.SandboxPending)
}

func TestDeletedSandboxFailsItsTasks(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.FillPool(hostPool("pool", 1))
	n.CreateSandbox(sandboxOf("x", "pool"))
	task := taskIn("x", "long", shell("step", "sleep 250"))
	task.Spec.Retries, task.Spec.RetryPolicy = 3, v1alpha1.RetryAlways
	n.CreateTask(task)
	n.CreateTask(taskIn("x", "behind", shell("step", "true")))
	pod := n.AwaitRunning("long").Status.PodName
	if err := n.Sandboxes().Delete(t.Context(), "x", deleteNow); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"long", "behind"} {
		failed := n.AwaitEnd(name)
		n.wantFailed(failed, v1alpha1.TaskReasonSandboxDeleted, v1alpha1.FailureUser)
		wantWords(t, failed.Status.Message, `"x"`, "deleted")
	}
	n.awaitPods("the pod gone", func(pods map[string]types.UID) bool { return pods[pod] == "" })

	// A sandbox of the same name is another one.
	n.CreateSandbox(sandboxOf("x", "pool"))
	n.AwaitSandbox("x", v1alpha1.SandboxReady)
	n.Output("x", "true")
	for _, name := range []string{"long", "behind"} {
		n.wantFailed(n.AwaitEnd(name), v1alpha1.TaskReasonSandboxDeleted, v1alpha1.FailureUser)
	}
}

// TestDeletedPoolLeavesSandboxesBe deletes a pool with a pod in use, an idle one
// and somebody who waits.
func TestDeletedPoolLeavesSandboxesBe(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.FillPool(hostPool("pool", 2))
	sandbox := n.CreateSandbox(sandboxOf("x", "pool"))
	n.AwaitPool("pool", 2)
	n.Output("x", "echo kept >note")
	if err := n.Pools().Delete(t.Context(), "pool", deleteNow); err != nil {
		t.Fatal(err)
	}
	n.awaitPods("the pod in use and no other", func(pods map[string]types.UID) bool {
		return len(pods) == 1 && pods[sandbox.Status.PodName] == sandbox.Status.PodUID
	})
	if got := n.Output("x", "cat note"); got != "kept\n" {
		t.Errorf("the sandbox in use has %q", got)
	}
	if waits := n.CreateSandbox(sandboxOf("waits", "pool")); waits.Status.Phase != v1alpha1.SandboxPending {
		t.Errorf("a sandbox of the deleted pool is %+v, want Pending", waits.Status)
	}
	if err := n.Sandboxes().Delete(t.Context(), "x", deleteNow); err != nil {
		t.Fatal(err)
	}
	n.awaitPods("no pod", func(pods map[string]types.UID) bool { return len(pods) == 0 })

	eventually(t, "the pool is gone", func(ctx context.Context) error {
		_, err := n.Pools().Get(ctx, "pool", getNow)
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %v", err)
		}
		return nil
	})
	// A pool of the same name serves who waits.
	n.CreatePool(hostPool("pool", 1))
	n.AwaitSandbox("waits", v1alpha1.SandboxReady)
}
