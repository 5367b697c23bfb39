package bind_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

// labelling returns a pool that wants its pods labelled.
func labelling(name string) *v1alpha1.WarmPool {
	pool := schedulertest.Pool(name, 1)
	pool.Spec.SandboxLabel = v1alpha1.SandboxLabelName
	return pool
}

// waitLabel waits until the pod of a sandbox is labelled with its name.
func waitLabel(h *schedulertest.Harness, box *v1alpha1.Sandbox) {
	h.TB.Helper()
	h.Eventually("the pod names "+box.Name, func() error {
		if got, _ := h.Runtime.Label(box.Status.PodUID); got != box.Name {
			return fmt.Errorf("it names %q", got)
		}
		return nil
	})
}

// attempts returns how often a pod was to be labelled.
func attempts(h *schedulertest.Harness) int {
	_, n := h.Runtime.Label("")
	return n
}

func TestPodsNameTheirSandboxesWhereThePoolWantsIt(t *testing.T) {
	h := schedulertest.New(t).Start()
	h.CreatePool(schedulertest.Pool("plain", 1))
	h.CreatePool(labelling("labelled"))
	h.WaitIdle("plain", 1)
	h.WaitIdle("labelled", 1)
	plain := h.CreateSandbox(schedulertest.Sandbox("plain", "plain"))
	first := h.CreateSandbox(schedulertest.Sandbox("first", "labelled"))
	h.CreateSandbox(schedulertest.Sandbox("second", "labelled"))
	waitLabel(h, first)
	second := h.WaitPhase("second", v1alpha1.SandboxReady)
	waitLabel(h, second)
	for _, name := range []string{"one", "two"} {
		h.CreateTask(schedulertest.Task(name, "first"))
		h.WaitState(name, v1alpha1.TaskSucceeded)
	}
	if got, n := h.Runtime.Label(plain.Status.PodUID); got != "" || n != 2 {
		t.Errorf("the pod of the other pool names %q, and pods were labelled %d times, want 2", got, n)
	}
	h.Eventually("the pool is changed", func() error {
		pools := h.API.ArlV1alpha1().WarmPools(schedulertest.Namespace)
		pool, err := pools.Get(context.Background(), "plain", metav1.GetOptions{})
		if err != nil {
			return err
		}
		pool.Spec.SandboxLabel = v1alpha1.SandboxLabelName
		_, err = pools.Update(context.Background(), pool, metav1.UpdateOptions{})
		return err
	})
	waitLabel(h, plain)
}

// TestLabelsHoldNothingUp has labels fail for a long time.
func TestLabelsHoldNothingUp(t *testing.T) {
	h := schedulertest.NewFrozen(t)
	h.Runtime.RefuseLabels(func(string) error { return errors.New("no permission to patch pods") })
	h.Start()
	h.CreatePool(labelling("pool"))
	h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool {
		h.Clock.Step(10 * time.Millisecond)
		return p.Status.ReadyReplicas == 1
	})
	box := h.CreateSandbox(schedulertest.Sandbox("box", "pool"))
	if box.Status.Phase != v1alpha1.SandboxReady {
		t.Fatalf("the create was answered with %+v", box.Status)
	}
	await := func(want int) {
		t.Helper()
		h.Eventually("the pod was to be labelled", func() error {
			if n := attempts(h); n != want {
				return fmt.Errorf("%d times, want %d", n, want)
			}
			return nil
		})
	}
	await(1)
	// What happens in the sandbox does not bring the next attempt on.
	for _, name := range []string{"one", "two", "three"} {
		h.CreateTask(schedulertest.Task(name, "box"))
		h.WaitState(name, v1alpha1.TaskSucceeded)
	}
	await(1)
	for range 600 {
		h.Clock.Step(time.Second)
		<-time.After(100 * time.Microsecond)
	}
	// 1+2+4+...+256 seconds fit in 600 once, and the next wait is 300.
	if n := attempts(h); n > 10 {
		t.Errorf("%d attempts in ten minutes", n)
	}
	if got := h.WaitPhase("box", v1alpha1.SandboxReady); got.Status.PodUID != box.Status.PodUID {
		t.Errorf("the sandbox has another pod: %+v", got.Status)
	}
	h.Runtime.RefuseLabels(nil)
	h.Eventually("the pod is labelled", func() error {
		h.Clock.Step(time.Second)
		if got, _ := h.Runtime.Label(box.Status.PodUID); got != "box" {
			return fmt.Errorf("it names %q", got)
		}
		return nil
	})
}

// TestALabelIsMadeUpForAfterARestart has the server end before a pod was labelled.
func TestALabelIsMadeUpForAfterARestart(t *testing.T) {
	h := schedulertest.New(t)
	h.Runtime.RefuseLabels(func(string) error { return errors.New("not now") })
	h.Start()
	h.CreatePool(labelling("pool"))
	h.WaitIdle("pool", 1)
	box := h.CreateSandbox(schedulertest.Sandbox("box", "pool"))
	h.Stop()
	h.Runtime.RefuseLabels(nil)
	h.Start()
	waitLabel(h, box)
	// A sandbox that is gone takes its pod along, labelled or not.
	h.Runtime.RefuseLabels(func(string) error { return errors.New("not now") })
	h.CreateSandbox(schedulertest.Sandbox("short", "pool"))
	remove(t, h, "short")
	remove(t, h, "box")
	h.WaitIdle("pool", 1)
}
