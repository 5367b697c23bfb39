package integration

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

func TestCreateAnswersReady(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	pool := hostPool("pool", 2)
	pool.Spec.MaxPods = ptr.To(int32(2))
	n.FillPool(pool)
	first, second := n.CreateSandbox(sandboxOf("first", "pool")), n.CreateSandbox(sandboxOf("second", "pool"))
	for _, sandbox := range []*v1alpha1.Sandbox{first, second} {
		got := sandbox.Status
		if got.Phase != v1alpha1.SandboxReady || got.PodName == "" || got.PodUID == "" || got.AllocatedTime == nil || got.QueuePosition != nil {
			t.Errorf("the create of %s answers %+v, want Ready with a pod", sandbox.Name, got)
		}
		if done := n.Output(sandbox.Name, "echo hello"); done != "hello\n" {
			t.Errorf("a task in %s writes %q", sandbox.Name, done)
		}
	}
	if first.Status.PodUID == second.Status.PodUID {
		t.Errorf("both have the pod %s", first.Status.PodName)
	}
	n.awaitAllocated("pool", 2)

	third := n.CreateSandbox(sandboxOf("third", "pool"))
	if third.Status.Phase != v1alpha1.SandboxPending || third.Status.PodName != "" {
		t.Errorf("with no free pod the create answers %+v, want Pending", third.Status)
	}
	if err := n.Sandboxes().Delete(t.Context(), "first", deleteNow); err != nil {
		t.Fatal(err)
	}
	if got := n.AwaitSandbox("third", v1alpha1.SandboxReady).Status; got.PodUID == first.Status.PodUID || got.PodUID == second.Status.PodUID {
		t.Errorf("the pod %s is given out a second time", got.PodName)
	}
}

// awaitAllocated waits until so many pods of a pool are in use and none is idle.
func (n *tenant) awaitAllocated(pool string, count int32) {
	n.T.Helper()
	eventually(n.T, fmt.Sprintf("pool %s with %d pods in use", pool, count), func(ctx context.Context) error {
		got, err := n.Pools().Get(ctx, pool, getNow)
		if err != nil {
			return err
		}
		if got.Status.AllocatedReplicas != count || got.Status.ReadyReplicas != 0 {
			return fmt.Errorf("status is %+v", got.Status)
		}
		return nil
	})
}

func TestDryRunReservesNothing(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	pool := hostPool("pool", 1)
	pool.Spec.MaxPods = ptr.To(int32(1))
	n.FillPool(pool)
	dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	for range 5 {
		got, err := n.Sandboxes().Create(t.Context(), sandboxOf("x", "pool"), dry)
		if err != nil {
			t.Fatal(err)
		}
		if got.Status.PodName != "" {
			t.Errorf("a dry run answers with the pod %s", got.Status.PodName)
		}
	}
	if _, err := n.Sandboxes().Get(t.Context(), "x", getNow); !apierrors.IsNotFound(err) {
		t.Errorf("after a dry run: %v, want not found", err)
	}
	if got := n.CreateSandbox(sandboxOf("x", "pool")); got.Status.Phase != v1alpha1.SandboxReady {
		t.Errorf("the only pod is not free after dry runs: %+v", got.Status)
	}
}

// TestQueueGoesByPriority lets sandboxes wait for the only pod, releases it time
// and again, and sees who gets the next.
func TestQueueGoesByPriority(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.readySandboxes("holder")
	for _, waiting := range []struct {
		name     string
		priority int32
	}{{"first", 0}, {"second", 0}, {"urgent", 10}, {"better", 5}, {"worse", -1}, {"third", 0}, {"better-too", 5}} {
		sandbox := sandboxOf(waiting.name, "pool")
		sandbox.Spec.Priority = waiting.priority
		if got := n.CreateSandbox(sandbox); got.Status.Phase != v1alpha1.SandboxPending {
			t.Errorf("%s: %+v, want Pending", waiting.name, got.Status)
		}
	}
	queue := []string{"urgent", "better", "better-too", "first", "second", "third", "worse"}
	for holder := "holder"; len(queue) > 0; holder, queue = queue[0], queue[1:] {
		n.awaitQueue(queue)
		if err := n.Sandboxes().Delete(t.Context(), holder, deleteNow); err != nil {
			t.Fatal(err)
		}
		n.AwaitSandbox(queue[0], v1alpha1.SandboxReady)
	}
}

// awaitQueue waits until just these sandboxes wait for a pod, in this order.
func (n *tenant) awaitQueue(want []string) {
	n.T.Helper()
	eventually(n.T, fmt.Sprintf("queue %q", want), func(ctx context.Context) error {
		list, err := n.Sandboxes().List(ctx, everything)
		if err != nil {
			return err
		}
		got, err := queueOf(list.Items)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("queue is %q", got)
		}
		return err
	})
}

// queueOf returns the names of the sandboxes that are Pending, by their queue
// positions, which must be 1, 2, 3 and so on.
func queueOf(sandboxes []v1alpha1.Sandbox) (names []string, err error) {
	var waiting []v1alpha1.Sandbox
	for _, sandbox := range sandboxes {
		if sandbox.Status.Phase == v1alpha1.SandboxPending {
			waiting = append(waiting, sandbox)
		}
	}
	position := func(s v1alpha1.Sandbox) int32 { return ptr.Deref(s.Status.QueuePosition, 0) }
	slices.SortFunc(waiting, func(a, b v1alpha1.Sandbox) int { return cmp.Compare(position(a), position(b)) })
	for i, sandbox := range waiting {
		if position(sandbox) != int32(i+1) {
			return nil, fmt.Errorf("%s is number %d of the queue and says %d", sandbox.Name, i+1, position(sandbox))
		}
		names = append(names, sandbox.Name)
	}
	return names, nil
}

// TestTwoHundredCreatesShareFiftyPods has more asked for at once than there is,
// then gives some back.
func TestTwoHundredCreatesShareFiftyPods(t *testing.T) {
	t.Parallel()
	const pods, creates, releases = 50, 200, 10
	n := newTenant(t, startServer(t))
	pool := hostPool("pool", pods)
	pool.Spec.MaxPods = ptr.To(int32(pods))
	n.FillPool(pool)

	answers := make([]*v1alpha1.Sandbox, creates)
	var group errgroup.Group
	for i := range answers {
		group.Go(func() (err error) {
			answers[i], err = n.Sandboxes().Create(t.Context(), sandboxOf(fmt.Sprintf("x-%d", i), "pool"), createNow)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	holders := map[types.UID]string{} // by pod, and for good: no pod is given out twice
	var ready []string
	for _, sandbox := range answers {
		if sandbox.Status.Phase == v1alpha1.SandboxReady {
			ready = append(ready, sandbox.Name)
			hold(t, holders, sandbox)
		}
	}
	if len(ready) != pods {
		t.Errorf("%d of %d creates answered Ready, want as many as there were idle pods: %d", len(ready), creates, pods)
	}

	queue := n.awaitQueueLength(creates - pods)
	for _, name := range ready[:releases] {
		if err := n.Sandboxes().Delete(t.Context(), name, deleteNow); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range queue[:releases] {
		hold(t, holders, n.AwaitSandbox(name, v1alpha1.SandboxReady))
	}
	if len(holders) != pods+releases {
		t.Errorf("%d pods given out to %d sandboxes", len(holders), pods+releases)
	}
	n.awaitQueue(queue[releases:])
}

// hold notes which sandbox has a pod, which must be the pod's first.
func hold(t *testing.T, holders map[types.UID]string, sandbox *v1alpha1.Sandbox) {
	t.Helper()
	uid := sandbox.Status.PodUID
	if other, taken := holders[uid]; taken || uid == "" {
		t.Errorf("%s has the pod %q, as %q has", sandbox.Name, uid, other)
	}
	holders[uid] = sandbox.Name
}

// awaitQueueLength waits until so many sandboxes wait, all with their places,
// and returns their names in order.
func (n *tenant) awaitQueueLength(want int) (queue []string) {
	n.T.Helper()
	eventually(n.T, fmt.Sprintf("%d sandboxes in the queue", want), func(ctx context.Context) error {
		list, err := n.Sandboxes().List(ctx, everything)
		if err != nil {
			return err
		}
		if queue, err = queueOf(list.Items); err == nil && len(queue) != want {
			err = fmt.Errorf("the queue has %d", len(queue))
		}
		return err
	})
	return queue
}
