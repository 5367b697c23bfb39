package integration

import (
	"context"
	"fmt"
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// TestFullDiskLosesNoPodAndNoTask fills the disk twice: creates that cannot be
// stored must leave the only pod free, and a task that ends meanwhile must be
// told of, once, when there is room again.
func TestFullDiskLosesNoPodAndNoTask(t *testing.T) {
	needRoot(t, "it mounts a file system of its own")
	t.Parallel()
	s := ownServer(t, "--storage-min-free", "8Mi")
	mountSmall(t, s, 160<<20)
	s.mustStart(t)
	n := tenantIn(t, s, "default")
	pool := hostPool("pool", 1)
	pool.Spec.MaxPods = ptr.To(int32(1))
	n.FillPool(pool)

	filler := fillDisk(t, s.data)
	n.awaitRefusals("pool")
	for range 3 {
		_, err := n.Sandboxes().Create(t.Context(), sandboxOf("x", "pool"), createNow)
		wantNoSpace(t, "create", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if got := n.CreateSandbox(sandboxOf("x", "pool")); got.Status.Phase != v1alpha1.SandboxReady {
		t.Fatalf("the only pod is not free after creates that were refused: %+v", got.Status)
	}

	release := n.startHeldTask("x", "waits")
	filler = fillDisk(t, s.data)
	n.awaitRefusals("pool")
	release()
	if got := n.AwaitRunning("waits"); got.Status.CompletionTime != nil {
		t.Errorf("on a full disk the task is %s", describe(got))
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	done := n.AwaitEnd("waits")
	if done.Status.State != v1alpha1.TaskSucceeded || done.Status.Stdout != "begun\nwent\n" || done.Status.Attempts != 1 {
		t.Errorf("the task is %s, wrote %q", describe(done), done.Status.Stdout)
	}
}

// startHeldTask starts a task with a step that goes on until release, which
// waits until the step has ended. Neither needs room on the disk.
func (n *tenant) startHeldTask(sandbox, name string) (release func()) {
	n.T.Helper()
	hold := insidePod(n.podInit(sandbox), "/workspace/hold")
	mark := rand.String(16)
	step := shell("step", "echo begun; touch hold; while [ -e hold ]; do sleep 0.05; done; echo went")
	step.Env = map[string]string{markVariable: mark}
	n.CreateTask(taskIn(sandbox, name, step))
	n.AwaitRunning(name)
	eventually(n.T, "the step's file", func(context.Context) error {
		_, err := os.Stat(hold)
		return err
	})
	return func() {
		n.T.Helper()
		if err := os.Remove(hold); err != nil {
			n.T.Fatal(err)
		}
		eventually(n.T, "the step's end", func(context.Context) error {
			if pids := marked(n.T, mark); len(pids) > 0 {
				return fmt.Errorf("processes %v have the mark", pids)
			}
			return nil
		})
	}
}
