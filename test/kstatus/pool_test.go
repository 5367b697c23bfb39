package kstatus

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/space"
)

func poolOf(name, image string, replicas int32) *v1alpha1.WarmPool {
	pool := &v1alpha1.WarmPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.WarmPoolSpec{Replicas: &replicas}}
	pool.Spec.Template.Spec.Containers = []corev1.Container{{Name: "executor", Image: image}}
	return pool
}

// awaitPool waits until a pool is as accept wants it.
func awaitPool(s *space.Space, name string, accept func(*v1alpha1.WarmPool) bool) *v1alpha1.WarmPool {
	s.T.Helper()
	var found *v1alpha1.WarmPool
	s.Waiter.Eventually(s.T, "pool "+name, func(ctx context.Context) error {
		pool, err := s.Pools().Get(ctx, name, metav1.GetOptions{})
		if err == nil && !accept(pool) {
			err = fmt.Errorf("its status is %+v", pool.Status)
		}
		found = pool
		return err
	})
	return found
}

func observed(pool *v1alpha1.WarmPool) bool { return pool.Status.ObservedGeneration == pool.Generation }

func patch(s *space.Space, name, change string) *v1alpha1.WarmPool {
	s.T.Helper()
	pool, err := s.Pools().Patch(s.T.Context(), name, types.MergePatchType, []byte(change), metav1.PatchOptions{})
	if err != nil {
		s.T.Fatal(err)
	}
	return pool
}

// TestPools follows pools through their lives. Claims do not make a pool look unhealthy.
func TestPools(t *testing.T) {
	s := newSpace(t)
	created := s.CreatePool(poolOf("pool", "host", 2))
	want(t, "a new pool", created, "WarmPool", status.InProgressStatus)
	for _, condition := range created.Status.Conditions {
		if condition.ObservedGeneration != 0 {
			t.Errorf("nobody has observed the new pool, and its condition %s says %d", condition.Type, condition.ObservedGeneration)
		}
	}
	full := func(p *v1alpha1.WarmPool) bool {
		return observed(p) && p.Status.ReadyReplicas == 2 && p.Status.UpdatedReplicas == 2
	}
	want(t, "a full pool", awaitPool(s, "pool", full), "WarmPool", status.CurrentStatus)
	patch(s, "pool", `{"spec":{"maxPods":2}}`)
	awaitPool(s, "pool", full)
	for _, name := range []string{"one", "two"} {
		s.ReadySandbox(name, "pool")
	}
	empty := awaitPool(s, "pool", func(p *v1alpha1.WarmPool) bool {
		return p.Status.ReadyReplicas == 0 && p.Status.AllocatedReplicas == 2
	})
	want(t, "a pool all of whose pods are claimed", empty, "WarmPool", status.CurrentStatus)
	if err := s.Pools().Delete(t.Context(), "pool", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	deleted := awaitPool(s, "pool", func(p *v1alpha1.WarmPool) bool { return p.Status.Phase == v1alpha1.WarmPoolTerminating })
	want(t, "a deleted pool with sandboxes in use", deleted, "WarmPool", status.TerminatingStatus)

	cold := s.CreatePool(poolOf("cold", "host", 0))
	want(t, "a new cold pool", cold, "WarmPool", status.InProgressStatus)
	want(t, "a cold pool", awaitPool(s, "cold", observed), "WarmPool", status.CurrentStatus)
}

// TestPoolsThatCannotStartPods are not done, or have failed, if only a change of the spec can help.
func TestPoolsThatCannotStartPods(t *testing.T) {
	s := newSpace(t)
	const missing = "oci-archive:/nowhere/image.tar"
	s.CreatePool(poolOf("broken", missing, 1))
	failing := func(p *v1alpha1.WarmPool) bool { return observed(p) && p.Status.Phase == v1alpha1.WarmPoolDegraded }
	want(t, "a pool whose image is missing", awaitPool(s, "broken", failing), "WarmPool", status.InProgressStatus)
	refused := poolOf("refused", "host", 1)
	refused.Spec.Template.Spec.HostNetwork = true
	s.CreatePool(refused)
	want(t, "a pool whose template cannot work", awaitPool(s, "refused", observed), "WarmPool", status.FailedStatus)

	s.CreatePool(poolOf("changed", "host", 1))
	awaitPool(s, "changed", func(p *v1alpha1.WarmPool) bool { return p.Status.UpdatedReplicas == 1 })
	change := `{"spec":{"template":{"spec":{"containers":[{"name":"executor","image":"` + missing + `"}]}}}}`
	want(t, "a pool right after a change", patch(s, "changed", change), "WarmPool", status.InProgressStatus)
	old := awaitPool(s, "changed", func(p *v1alpha1.WarmPool) bool { return observed(p) && p.Status.ReadyReplicas == 1 })
	want(t, "a pool that has idle pods of the old template alone", old, "WarmPool", status.InProgressStatus)
}

// TestSandboxes follows sandboxes through their lives.
func TestSandboxes(t *testing.T) {
	s := newSpace(t)
	s.FillPool(poolOf("pool", "host", 1))
	ready := s.CreateSandbox(space.SandboxOf("ready", "pool"))
	want(t, "a sandbox that was created with a pod", ready, "Sandbox", status.CurrentStatus)

	waits := s.CreateSandbox(space.SandboxOf("waits", "later"))
	want(t, "a sandbox that was created without a pod", waits, "Sandbox", status.InProgressStatus)
	s.Waiter.Eventually(t, "the sandbox is observed", func(ctx context.Context) error {
		box, err := s.Sandboxes().Get(ctx, "waits", metav1.GetOptions{})
		if err == nil && box.Status.ObservedGeneration != 1 {
			err = fmt.Errorf("its status is %+v", box.Status)
		}
		waits = box
		return err
	})
	want(t, "a sandbox that waits", waits, "Sandbox", status.InProgressStatus)
	s.CreatePool(poolOf("later", "host", 0))
	want(t, "a sandbox that waited", s.AwaitSandbox("waits", v1alpha1.SandboxReady), "Sandbox", status.CurrentStatus)

	late := space.SandboxOf("late", "nowhere")
	late.Spec.AllocationTimeoutSeconds = ptr.To[int32](0)
	s.CreateSandbox(late)
	want(t, "a sandbox that has failed", s.AwaitSandbox("late", v1alpha1.SandboxFailed), "Sandbox", status.FailedStatus)
}
