package health_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

var getOptions = metav1.GetOptions{}

// eventually waits, and has time pass by the step meanwhile. With long steps an agent that answers is
// late, too.
func eventually(h *schedulertest.Harness, step time.Duration, what string, check func() error) {
	h.TB.Helper()
	h.Eventually(what, func() error {
		h.Clock.Step(step)
		return check()
	})
}

// filled creates a pool and waits until one pod of it is idle.
func filled(h *schedulertest.Harness) {
	h.TB.Helper()
	h.CreatePool(schedulertest.Pool("pool", 1))
	waitIdle(h)
}

func waitIdle(h *schedulertest.Harness) {
	h.TB.Helper()
	eventually(h, 10*time.Millisecond, "a pod is idle", func() error {
		pool, err := h.API.ArlV1alpha1().WarmPools(schedulertest.Namespace).Get(h.TB.Context(), "pool", getOptions)
		if err != nil {
			return err
		}
		if pool.Status.ReadyReplicas != 1 {
			return fmt.Errorf("%d pods are idle", pool.Status.ReadyReplicas)
		}
		return nil
	})
}

// gone returns an error while the pod is there.
func gone(h *schedulertest.Harness, pod string) error {
	if h.Runtime.Pod(pod) != nil {
		return fmt.Errorf("pod %s is there", pod)
	}
	return nil
}

// TestAFrozenAgentFailsItsSandbox freezes the agent of a sandbox in which a task runs whose own timeout
// is far away, and one in which none runs.
func TestAFrozenAgentFailsItsSandbox(t *testing.T) {
	for name, busy := range map[string]bool{"a task runs": true, "no task runs": false} {
		t.Run(name, func(t *testing.T) {
			h := schedulertest.NewFrozen(t)
			h.Runtime.Behave = schedulertest.Hang
			h.Start()
			filled(h)
			pod := h.Runtime.Pod(h.CreateSandbox(schedulertest.Sandbox("box", "pool")).Status.PodName)
			if busy {
				task := schedulertest.Task("task", "box")
				task.Spec.Timeout = "24h"
				h.CreateTask(task)
				h.Eventually("the task has begun", func() error {
					if len(pod.Agent.Began()) == 0 {
						return errors.New("it has not")
					}
					return nil
				})
			}
			pod.Agent.Freeze()
			eventually(h, time.Second, "the sandbox has failed", func() error {
				box, err := h.API.ArlV1alpha1().Sandboxes(schedulertest.Namespace).Get(t.Context(), "box", getOptions)
				if err != nil {
					return err
				}
				if box.Status.Phase != v1alpha1.SandboxFailed || box.Status.Reason != v1alpha1.SandboxReasonAgentLost {
					return fmt.Errorf("it is %s: %s: %s", box.Status.Phase, box.Status.Reason, box.Status.Message)
				}
				return nil
			})
			h.Eventually("the pod is deleted", func() error { return gone(h, pod.Name) })
			if !busy {
				return
			}
			task := h.WaitState("task", v1alpha1.TaskFailed)
			if task.Status.Reason != v1alpha1.TaskReasonAgentLost || task.Status.FailureClass != v1alpha1.FailureInfrastructure {
				t.Errorf("the task ended with %s, class %s: %s", task.Status.Reason, task.Status.FailureClass, task.Status.Message)
			}
		})
	}
}

// TestAFrozenIdlePodIsReplaced freezes the agent of a pod that nobody uses.
func TestAFrozenIdlePodIsReplaced(t *testing.T) {
	h := schedulertest.NewFrozen(t)
	h.Start()
	filled(h)
	frozen := h.Runtime.Pods()[0]
	frozen.Agent.Freeze()
	eventually(h, time.Second, "the pod is deleted", func() error { return gone(h, frozen.Name) })
	waitIdle(h)
	if box := h.CreateSandbox(schedulertest.Sandbox("box", "pool")); box.Status.PodName == "" || box.Status.PodName == frozen.Name {
		t.Errorf("the sandbox has pod %q", box.Status.PodName)
	}
}
