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

// TestAnAgentFailsItsSandbox freezes the agent of a sandbox in which a task runs whose own timeout is
// far away, and one in which none runs; and has them break the protocol.
func TestAnAgentFailsItsSandbox(t *testing.T) {
	for name, test := range map[string]struct {
		attack func(*schedulertest.Agent)
		busy   bool
		reason string
		class  v1alpha1.FailureClass
	}{
		"frozen, a task runs":  {(*schedulertest.Agent).Freeze, true, v1alpha1.SandboxReasonAgentLost, v1alpha1.FailureInfrastructure},
		"frozen, no task runs": {(*schedulertest.Agent).Freeze, false, v1alpha1.SandboxReasonAgentLost, ""},
		"broken, a task runs":  {(*schedulertest.Agent).Break, true, v1alpha1.SandboxReasonAgentProtocolViolation, v1alpha1.FailureUser},
		"broken, no task runs": {(*schedulertest.Agent).Break, false, v1alpha1.SandboxReasonAgentProtocolViolation, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := schedulertest.NewFrozen(t)
			h.Runtime.Behave = schedulertest.Hang
			h.Start()
			filled(h)
			pod := h.Runtime.Pod(h.CreateSandbox(schedulertest.Sandbox("box", "pool")).Status.PodName)
			if test.busy {
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
			test.attack(pod.Agent)
			eventually(h, time.Second, "the sandbox has failed", func() error {
				box, err := h.API.ArlV1alpha1().Sandboxes(schedulertest.Namespace).Get(t.Context(), "box", getOptions)
				if err != nil {
					return err
				}
				if box.Status.Phase != v1alpha1.SandboxFailed || box.Status.Reason != test.reason {
					return fmt.Errorf("it is %s: %s: %s", box.Status.Phase, box.Status.Reason, box.Status.Message)
				}
				return nil
			})
			h.Eventually("the pod is deleted", func() error { return gone(h, pod.Name) })
			if !test.busy {
				return
			}
			task := h.WaitState("task", v1alpha1.TaskFailed)
			if task.Status.Reason != test.reason || task.Status.FailureClass != test.class {
				t.Errorf("the task ended with %s, class %s: %s", task.Status.Reason, task.Status.FailureClass, task.Status.Message)
			}
		})
	}
}

// TestAnIdlePodIsReplaced freezes the agent of a pod that nobody uses, or has it break the protocol.
func TestAnIdlePodIsReplaced(t *testing.T) {
	for name, attack := range map[string]func(*schedulertest.Agent){
		"frozen": (*schedulertest.Agent).Freeze, "broken": (*schedulertest.Agent).Break,
	} {
		t.Run(name, func(t *testing.T) {
			h := schedulertest.NewFrozen(t)
			h.Start()
			filled(h)
			pod := h.Runtime.Pods()[0]
			attack(pod.Agent)
			eventually(h, time.Second, "the pod is deleted", func() error { return gone(h, pod.Name) })
			waitIdle(h)
			if box := h.CreateSandbox(schedulertest.Sandbox("box", "pool")); box.Status.PodName == "" || box.Status.PodName == pod.Name {
				t.Errorf("the sandbox has pod %q", box.Status.PodName)
			}
		})
	}
}
