package pool_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

// TestADeletedPoolStaysWhileItsPodsAreUsed however often the server is restarted meanwhile.
func TestADeletedPoolStaysWhileItsPodsAreUsed(t *testing.T) {
	for name, restart := range map[string]bool{"at once": false, "with restarts": true} {
		t.Run(name, func(t *testing.T) {
			h := schedulertest.New(t).Start()
			again := func() {
				if restart {
					h.Restart()
				}
			}
			h.CreatePool(schedulertest.Pool("pool", 2))
			h.WaitIdle("pool", 2)
			for _, box := range []string{"one", "two"} {
				h.CreateSandbox(schedulertest.Sandbox(box, "pool"))
			}
			h.WaitIdle("pool", 2)
			if err := pools(h).Delete(context.Background(), "pool", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			podCount(h, 2)
			again()
			h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool {
				return p.Status.Phase == v1alpha1.WarmPoolTerminating && p.Status.AllocatedReplicas == 2 && p.Status.Replicas == 0
			})
			if late := h.CreateSandbox(schedulertest.Sandbox("late", "pool")); late.Status.PodName != "" {
				t.Error("a pool that is being deleted gave out a pod")
			}
			boxes := h.API.ArlV1alpha1().Sandboxes(schedulertest.Namespace)
			for i, box := range []string{"one", "two"} {
				h.WaitPhase(box, v1alpha1.SandboxReady)
				h.CreateTask(schedulertest.Task("goes-on-"+box, box))
				h.WaitState("goes-on-"+box, v1alpha1.TaskSucceeded)
				if err := boxes.Delete(context.Background(), box, metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					again()
					h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool { return p.Status.AllocatedReplicas == 1 })
				}
			}
			schedulertest.Gone(h, "pool", pools(h).Get)
			podCount(h, 0)
			h.WaitSandbox("late", func(s *v1alpha1.Sandbox) bool { return s.Status.Reason == v1alpha1.SandboxReasonPoolNotFound })
		})
	}
}

// TestTheFinalizerIsRemovedAllTheSame although the first writes fail.
func TestTheFinalizerIsRemovedAllTheSame(t *testing.T) {
	h := schedulertest.New(t)
	faults := 0
	h.API.SetFault(func(r schedulertest.Request) error {
		if r.Resource != "warmpools" || r.Verb != "update" || r.Subresource != "" || faults >= 4 {
			return nil
		}
		if faults++; faults%2 == 0 {
			return apierrors.NewInternalError(errors.New("no space left"))
		}
		return apierrors.NewConflict(v1alpha1.SchemeGroupVersion.WithResource("warmpools").GroupResource(), "pool", errors.New("changed"))
	})
	h.Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	h.WaitIdle("pool", 1)
	if err := pools(h).Delete(context.Background(), "pool", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	schedulertest.Gone(h, "pool", pools(h).Get)
	podCount(h, 0)
}

// TestAColdPoolServes has sandboxes come to a pool that keeps no pods, and leave again.
func TestAColdPoolServes(t *testing.T) {
	h := schedulertest.New(t).Start()
	h.CreatePool(schedulertest.Pool("pool", 0))
	h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool { return p.Status.Phase == v1alpha1.WarmPoolReady })
	podCount(h, 0)
	const boxes = 20
	for i := range boxes {
		h.CreateSandbox(schedulertest.Sandbox(fmt.Sprintf("box-%d", i), "pool"))
	}
	for i := range boxes {
		h.WaitPhase(fmt.Sprintf("box-%d", i), v1alpha1.SandboxReady)
	}
	h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool { return p.Status.AllocatedReplicas == boxes && p.Status.Replicas == 0 })
	if all, _ := h.Runtime.Created(); all != boxes {
		t.Errorf("%d pods were created for %d sandboxes", all, boxes)
	}
}

// TestManyWaitForASmallPool has them served by pods that start side by side, and not one after another.
func TestManyWaitForASmallPool(t *testing.T) {
	h := schedulertest.New(t)
	h.Runtime.Manual(true)
	h.Start()
	pool := schedulertest.Pool("pool", 1)
	pool.Spec.MaxPods = ptr.To[int32](12)
	h.CreatePool(pool)
	for i := range 20 {
		h.CreateSandbox(schedulertest.Sandbox(fmt.Sprintf("box-%d", i), "pool"))
	}
	podCount(h, 12)
	for _, p := range h.Runtime.Pods() {
		h.Runtime.Ready(p.Name)
	}
	got := h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool {
		return p.Status.AllocatedReplicas == 12 && p.Status.PendingSandboxes == 8
	})
	h.WaitSandbox("box-19", func(s *v1alpha1.Sandbox) bool { return s.Status.Reason == v1alpha1.SandboxReasonMaxPodsReached })
	if got.Status.Phase != v1alpha1.WarmPoolPending {
		t.Errorf("the phase is %s", got.Status.Phase)
	}
}
