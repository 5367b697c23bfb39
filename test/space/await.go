package space

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// Waiter waits for what happens elsewhere, by looking again and again.
type Waiter struct {
	// Patience is how long it waits, and Pause how long between two looks.
	Patience, Pause time.Duration
}

// Eventually waits until a check returns nil, and ends the test if it does not in time.
func (w Waiter) Eventually(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), w.Patience)
	defer cancel()
	if err := w.Until(ctx, check); err != nil {
		t.Fatalf("wait until %s, for %v at most: %v", what, w.Patience, err)
	}
}

// Until waits until a check returns nil or ctx ends. Its error is then what was
// wrong at the end.
func (w Waiter) Until(ctx context.Context, check func(context.Context) error) error {
	last := errors.New("never checked")
	err := wait.PollUntilContextCancel(ctx, w.Pause, true, func(ctx context.Context) (bool, error) {
		// A check that ctx cut short says less than the one before.
		if failed := check(ctx); failed == nil || ctx.Err() == nil {
			last = failed
		}
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	return nil
}

// AwaitPool waits until a pool has just so many idle pods, all ready, by a status
// that counts every sandbox that has a pod by now: an older one may name as idle
// what a sandbox has taken since, and miss the pod that is started in its place.
func (s *Space) AwaitPool(name string, ready int32) (pool *v1alpha1.WarmPool) {
	s.T.Helper()
	s.Waiter.Eventually(s.T, fmt.Sprintf("pool %s has %d ready pods", name, ready), func(ctx context.Context) (err error) {
		if pool, err = s.Pools().Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		sandboxes, err := s.Sandboxes().List(ctx, metav1.ListOptions{FieldSelector: "spec.poolRef=" + name})
		if err != nil {
			return err
		}
		allocated := int32(0)
		for _, sandbox := range sandboxes.Items {
			if phase := sandbox.Status.Phase; phase == v1alpha1.SandboxReady {
				allocated++
			}
		}
		if got := pool.Status; got.Replicas != ready || got.ReadyReplicas != ready || got.AllocatedReplicas != allocated {
			return fmt.Errorf("%d sandboxes have a pod, and the pool's status is %+v", allocated, got)
		}
		return nil
	})
	return pool
}

// AwaitSandbox waits until a sandbox is in a phase.
func (s *Space) AwaitSandbox(name string, phase v1alpha1.SandboxPhase) (sandbox *v1alpha1.Sandbox) {
	s.T.Helper()
	s.Waiter.Eventually(s.T, fmt.Sprintf("sandbox %s is %s", name, phase), func(ctx context.Context) (err error) {
		if sandbox, err = s.Sandboxes().Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		if sandbox.Status.Phase != phase {
			return fmt.Errorf("its status is %+v", sandbox.Status)
		}
		return nil
	})
	return sandbox
}

// AwaitNoSandbox waits until a sandbox is gone.
func (s *Space) AwaitNoSandbox(name string) {
	s.T.Helper()
	s.Waiter.Eventually(s.T, "sandbox "+name+" is gone", func(ctx context.Context) error {
		got, err := s.Sandboxes().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("its status is %+v", got.Status)
		}
		return err
	})
}

// AwaitTask waits until a check of a task returns nil; what says what that means.
func (s *Space) AwaitTask(name, what string, check func(*v1alpha1.Task) error) (task *v1alpha1.Task) {
	s.T.Helper()
	s.Waiter.Eventually(s.T, "task "+name+" "+what, func(ctx context.Context) (err error) {
		if task, err = s.Tasks().Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		return check(task)
	})
	return task
}

// AwaitEnd waits until a task has ended.
func (s *Space) AwaitEnd(name string) *v1alpha1.Task {
	s.T.Helper()
	return s.AwaitTask(name, "has ended", func(task *v1alpha1.Task) error {
		if !Ended(task) {
			return fmt.Errorf("it is %s", Outline(task))
		}
		return nil
	})
}

// AwaitRunning waits until a task runs.
func (s *Space) AwaitRunning(name string) *v1alpha1.Task {
	s.T.Helper()
	return s.AwaitTask(name, "runs", func(task *v1alpha1.Task) error {
		if task.Status.State != v1alpha1.TaskRunning {
			return fmt.Errorf("it is %s", Outline(task))
		}
		return nil
	})
}
