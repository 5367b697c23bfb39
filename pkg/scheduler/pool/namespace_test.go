package pool_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

// TestANamespaceThatIsDeleted has its pods ended first and new ones refused, and
// then, in whatever order they are found, the pool and the sandboxes deleted.
func TestANamespaceThatIsDeleted(t *testing.T) {
	for _, first := range []string{"warmpools", "sandboxes"} {
		t.Run(first+" first", func(t *testing.T) {
			h := schedulertest.NewFrozen(t).Start()
			h.CreatePool(schedulertest.Pool("pool", 3))
			idle := func(p *v1alpha1.WarmPool) bool {
				h.Clock.Step(10 * time.Millisecond)
				return p.Status.ReadyReplicas == 3
			}
			h.WaitPool("pool", idle)
			h.CreateSandbox(schedulertest.Sandbox("used", "pool"))
			h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool { return idle(p) && p.Status.AllocatedReplicas == 1 })

			var refused atomic.Int32
			h.Runtime.Refuse(func(podruntime.Spec) error {
				refused.Add(1)
				return &podruntime.Refusal{Reason: podruntime.ReasonNamespaceTerminating, RetryAfter: time.Minute, Err: errors.New("it is being terminated")}
			})
			for _, p := range h.Runtime.Pods() {
				h.Runtime.Fail(p.Name, podruntime.ReasonDeleted, "somebody deleted the pod")
			}
			h.WaitPhase("used", v1alpha1.SandboxFailed)
			h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool {
				h.Clock.Step(100 * time.Millisecond)
				c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.WarmPoolConditionReplicaFailure)
				return p.Status.Replicas == 0 && c.Status == metav1.ConditionTrue && c.Reason == podruntime.ReasonNamespaceTerminating
			})
			h.CreateSandbox(schedulertest.Sandbox("waits", "pool"))
			before := refused.Load()
			for range 600 {
				h.Clock.Step(500 * time.Millisecond)
				<-time.After(100 * time.Microsecond)
			}
			if n := refused.Load() - before; n > 6 {
				t.Errorf("%d pods were asked for in five minutes", n)
			}

			remove(t, h, first)
			for _, resource := range []string{"warmpools", "sandboxes"} {
				if resource != first {
					remove(t, h, resource)
				}
			}
			podCount(h, 0)
			h.Eventually("nothing is asked for any more", func() error {
				before := refused.Load()
				h.Clock.Step(10 * time.Minute)
				<-time.After(10 * time.Millisecond)
				if n := refused.Load() - before; n > 0 {
					return fmt.Errorf("%d pods were", n)
				}
				return nil
			})

			schedulertest.Gone(h, "pool", pools(h).Get)
			// The next namespace of the name begins with a clean slate.
			h.Runtime.Refuse(nil)
			h.CreatePool(schedulertest.Pool("pool", 3))
			h.WaitPool("pool", idle)
		})
	}
}

// remove deletes all objects of a resource.
func remove(t *testing.T, h *schedulertest.Harness, resource string) {
	t.Helper()
	var err error
	switch resource {
	case "warmpools":
		err = pools(h).Delete(context.Background(), "pool", metav1.DeleteOptions{})
	default:
		boxes := h.API.ArlV1alpha1().Sandboxes(schedulertest.Namespace)
		err = errors.Join(boxes.Delete(context.Background(), "used", metav1.DeleteOptions{}), boxes.Delete(context.Background(), "waits", metav1.DeleteOptions{}))
	}
	if err != nil {
		t.Fatal(err)
	}
}
