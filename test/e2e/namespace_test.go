package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"arl.io/arl/test/e2e/cluster"
)

// TestNamespaceDeletion deletes namespaces with five hundred objects of ours.
// The cluster itself waits 5 s before it begins, and 5 s more if it then finds a pod.
func TestNamespaceDeletion(t *testing.T) {
	t.Run("without pods", func(t *testing.T) {
		n := newTenant(t)
		n.CreatePool(busyPool("pool", 0))
		n.makeObjects(200, 299)
		n.measureDeletion("500 OBJECTS")
	})
	t.Run("with a pod and a task that runs in it", func(t *testing.T) {
		n := newTenant(t)
		n.FillPool(cappedPool("pool", 1))
		n.ReadySandbox("ready", "pool")
		n.CreateTask(taskIn("ready", "long", command("sleep", "sleep", "600")))
		n.makeObjects(200, 297)
		n.AwaitRunning("long")
		n.measureDeletion("500 OBJECTS AND A POD")
	})
}

// makeObjects makes sandboxes and tasks that wait for a pool that is not there.
func (n *tenant) makeObjects(sandboxes, tasks int) {
	n.T.Helper()
	begin := time.Now()
	group, ctx := errgroup.WithContext(n.T.Context())
	group.SetLimit(16)
	for i := range sandboxes {
		group.Go(func() error {
			_, err := n.Sandboxes().Create(ctx, sandboxOf(fmt.Sprintf("s%d", i), "nowhere"), createNow)
			return err
		})
	}
	for i := range tasks {
		group.Go(func() error {
			task := taskIn("", fmt.Sprintf("t%d", i), command("true", "true"))
			task.Spec.PoolRef = "nowhere"
			_, err := n.Tasks().Create(ctx, task, createNow)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		n.T.Fatal(err)
	}
	n.T.Logf("%d objects were made in %s", sandboxes+tasks, since(begin))
}

// measureDeletion deletes the tenant's namespace and says how long that took.
func (n *tenant) measureDeletion(what string) {
	n.T.Helper()
	admin := clientOf(n.T, cluster.Admin)
	begin := time.Now()
	if err := admin.CoreV1().Namespaces().Delete(n.T.Context(), n.Namespace, deleteNow); err != nil {
		n.T.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(n.T.Context(), removal)
	defer cancel()
	if err := awaitNoNamespace(ctx, admin, n.Namespace); err != nil {
		n.T.Fatal(err)
	}
	n.T.Logf("NAMESPACE WITH %s DELETED IN %.1f SECONDS", what, time.Since(begin).Seconds())

	left, err := arlClientOf(n.T, cluster.Admin).ArlV1alpha1().Sandboxes(n.Namespace).List(n.T.Context(), everything)
	if err != nil {
		n.T.Fatal(err)
	}
	if len(left.Items) > 0 {
		n.T.Errorf("%d sandboxes are left", len(left.Items))
	}
}
