package bind_test

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

// limitsOf says what a sandbox's status says of its limits: the idle timeout, -1 for none, and how long
// after the allocation it expires.
func limitsOf(s *v1alpha1.Sandbox) (idle int32, life time.Duration) {
	if end := s.Status.ExpirationTime; end != nil {
		life = end.Sub(s.Status.AllocatedTime.Truncate(time.Second))
	}
	return ptr.Deref(s.Status.IdleTimeoutSeconds, -1), life
}

func changePool(h *schedulertest.Harness, edit func(*v1alpha1.WarmPool)) {
	h.TB.Helper()
	pools := h.API.ArlV1alpha1().WarmPools(schedulertest.Namespace)
	h.Eventually("the pool is changed", func() error {
		pool, err := pools.Get(context.Background(), "pool", metav1.GetOptions{})
		if err != nil {
			return err
		}
		edit(pool)
		_, err = pools.Update(context.Background(), pool, metav1.UpdateOptions{})
		return err
	})
}

// TestTheLimitsInEffectAreInTheStatus from the create on, and follow the sandbox and its pool.
func TestTheLimitsInEffectAreInTheStatus(t *testing.T) {
	h := schedulertest.New(t).Start()
	h.CreatePool(schedulertest.Pool("pool", 3))
	h.WaitIdle("pool", 3)
	short := schedulertest.Sandbox("short", "pool")
	short.Spec.KeepAlive = false
	own := schedulertest.Sandbox("own", "pool")
	own.Spec.IdleTimeoutSeconds, own.Spec.MaxLifetimeSeconds = ptr.To[int32](7000), ptr.To[int32](9000)
	kept := schedulertest.Sandbox("kept", "pool")
	for _, test := range []struct {
		box  *v1alpha1.Sandbox
		idle int32
		life time.Duration
	}{{short, 60, 0}, {own, 7000, 9000 * time.Second}, {kept, -1, 0}} {
		created := h.CreateSandbox(test.box)
		if idle, life := limitsOf(created); created.Status.Phase != v1alpha1.SandboxReady || idle != test.idle || life != test.life {
			t.Errorf("%s was created with %+v", test.box.Name, created.Status)
		}
	}
	// Nothing but the create wrote them.
	if n := h.API.Writes("update sandboxes/status"); n != 0 {
		t.Errorf("%d writes of the status", n)
	}

	changePool(h, func(p *v1alpha1.WarmPool) {
		p.Spec.IdleTimeoutSeconds, p.Spec.MaxLifetimeSeconds = ptr.To[int32](500), ptr.To[int32](600)
	})
	follows := func(name string, wantIdle int32, wantLife time.Duration) {
		t.Helper()
		h.WaitSandbox(name, func(s *v1alpha1.Sandbox) bool {
			idle, life := limitsOf(s)
			return idle == wantIdle && life == wantLife
		})
	}
	follows("short", 500, 600*time.Second)
	follows("kept", -1, 600*time.Second)
	follows("own", 7000, 9000*time.Second)
	h.Eventually("the sandbox is changed", func() error {
		box, err := sandboxes(h).Get(context.Background(), "own", metav1.GetOptions{})
		if err != nil {
			return err
		}
		box.Spec.IdleTimeoutSeconds, box.Spec.MaxLifetimeSeconds = nil, ptr.To[int32](8000)
		_, err = sandboxes(h).Update(context.Background(), box, metav1.UpdateOptions{})
		return err
	})
	follows("own", -1, 8000*time.Second)
}

// TestTheLimitsOfASandboxThatWaited come with the write that binds it.
func TestTheLimitsOfASandboxThatWaited(t *testing.T) {
	h := schedulertest.New(t).Start()
	pool := schedulertest.Pool("pool", 0)
	pool.Spec.IdleTimeoutSeconds, pool.Spec.MaxLifetimeSeconds = ptr.To[int32](500), ptr.To[int32](600)
	h.CreatePool(pool)
	box := schedulertest.Sandbox("box", "pool")
	box.Spec.KeepAlive = false
	if idle, life := limitsOf(h.CreateSandbox(box)); idle != -1 || life != 0 {
		t.Errorf("limits of a sandbox without a pod: %d, %v", idle, life)
	}
	got := h.WaitPhase("box", v1alpha1.SandboxReady)
	if idle, life := limitsOf(got); idle != 500 || life != 600*time.Second {
		t.Errorf("the limits are %d, %v", idle, life)
	}
}
