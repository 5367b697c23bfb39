package execute_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

// frozenBox returns a harness whose time stands still, with a sandbox "box" that is ready.
func frozenBox(t *testing.T, behave schedulertest.Behaviour) (*schedulertest.Harness, *schedulertest.Pod) {
	t.Helper()
	h := schedulertest.NewFrozen(t)
	h.Runtime.Behave = behave
	h.Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool {
		h.Clock.Step(10 * time.Millisecond)
		return p.Status.ReadyReplicas == 1
	})
	return h, h.Runtime.Pod(h.CreateSandbox(schedulertest.Sandbox("box", "pool")).Status.PodName)
}

// waitRunning lets time pass until a task's status says Running.
func waitRunning(h *schedulertest.Harness, name string) v1alpha1.TaskStatus {
	h.TB.Helper()
	return h.WaitTask(name, func(t *v1alpha1.Task) bool {
		h.Clock.Step(10 * time.Millisecond)
		return t.Status.State == v1alpha1.TaskRunning
	}).Status
}

// TestNothingRunsBesideStepsThatAreNotAccountedFor has an agent not end the steps of a task in time.
// The sandbox fails, and the task behind it is not started there.
func TestNothingRunsBesideStepsThatAreNotAccountedFor(t *testing.T) {
	release := make(chan struct{})
	h, pod := frozenBox(t, func(ctx context.Context, execution wire.Execution) wire.ExecutionResult {
		<-release
		return schedulertest.Succeed(ctx, execution)
	})
	task := schedulertest.Task("stuck", "box")
	task.Spec.Timeout, task.Spec.Retries = "10s", 3
	h.CreateTask(task)
	h.CreateTask(schedulertest.Task("next", "box"))
	waitRunning(h, "stuck")
	h.Pass(50 * time.Second)
	if s := failed(h, "stuck", v1alpha1.TaskReasonAgentLost, v1alpha1.FailureInfrastructure); !strings.Contains(s.Message, "may run still") {
		t.Errorf("it says %s", s.Message)
	}
	box := h.WaitPhase("box", v1alpha1.SandboxFailed)
	if box.Status.Reason != v1alpha1.SandboxReasonExecutionUnaccounted || !strings.Contains(box.Status.Message, `"stuck"`) || !strings.Contains(box.Status.Message, "create another sandbox") {
		t.Errorf("the sandbox says %s: %s", box.Status.Reason, box.Status.Message)
	}
	failed(h, "next", v1alpha1.TaskReasonSandboxFailed, v1alpha1.FailureInfrastructure)
	began(h, pod.Agent, 1)
	close(release)
	h.Eventually("its pod is deleted", func() error {
		if h.Runtime.Pod(pod.Name) != nil {
			return fmt.Errorf("it is there")
		}
		return nil
	})
}

// TestACancelThatIsNotCarriedOut is the same for a task that was cancelled.
func TestACancelThatIsNotCarriedOut(t *testing.T) {
	release := make(chan struct{})
	h, pod := frozenBox(t, func(ctx context.Context, execution wire.Execution) wire.ExecutionResult {
		<-release
		return schedulertest.Succeed(ctx, execution)
	})
	h.CreateTask(schedulertest.Task("stuck", "box"))
	h.CreateTask(schedulertest.Task("next", "box"))
	waitRunning(h, "stuck")
	cancel(t, h, "stuck")
	h.WaitTask("stuck", func(t *v1alpha1.Task) bool {
		h.Clock.Step(100 * time.Millisecond)
		return t.Status.State == v1alpha1.TaskFailed
	})
	h.WaitPhase("box", v1alpha1.SandboxFailed)
	failed(h, "next", v1alpha1.TaskReasonSandboxFailed, v1alpha1.FailureInfrastructure)
	began(h, pod.Agent, 1)
	close(release)
}

// TestTheEndOfASandboxIsFinal ends the sandbox of a task as its user may: no other attempt is made.
func TestTheEndOfASandboxIsFinal(t *testing.T) {
	tests := map[string]struct {
		end    func(h *schedulertest.Harness, sandbox string)
		reason string
		says   string
	}{
		"it is deleted": {func(h *schedulertest.Harness, sandbox string) { h.API.Remove("sandboxes", sandbox) },
			v1alpha1.TaskReasonSandboxDeleted, "was deleted"},
		"its lifetime ends": {func(h *schedulertest.Harness, _ string) { h.Pass(6 * time.Second) },
			v1alpha1.TaskReasonSandboxExpired, "maxLifetimeSeconds"},
	}
	for name, test := range tests {
		for _, policy := range []v1alpha1.RetryPolicy{v1alpha1.RetryInfrastructure, v1alpha1.RetryAlways} {
			t.Run(name+", "+string(policy), func(t *testing.T) {
				h := schedulertest.NewFrozen(t)
				h.Runtime.Behave = schedulertest.Hang
				h.Start()
				pool := schedulertest.Pool("pool", 1)
				pool.Spec.MaxLifetimeSeconds = ptr.To[int32](5)
				h.CreatePool(pool)
				h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool {
					h.Clock.Step(10 * time.Millisecond)
					return p.Status.ReadyReplicas == 1
				})
				task := oneShot("task")
				task.Spec.Retries, task.Spec.RetryPolicy = 3, policy
				h.CreateTask(task)
				s := waitRunning(h, "task")
				test.end(h, s.SandboxName)
				got := failed(h, "task", test.reason, v1alpha1.FailureUser)
				if got.Attempts != 1 || !strings.Contains(got.Message, test.says) {
					t.Errorf("it says %+v", got)
				}
			})
		}
	}
}

// TestAnAllocationTimeoutIsFinal has the sandbox of a task wait for a pod as long as its pool says.
func TestAnAllocationTimeoutIsFinal(t *testing.T) {
	h := schedulertest.New(t).Start()
	pool := schedulertest.Pool("pool", 1)
	pool.Spec.AllocationTimeoutSeconds = ptr.To[int32](0)
	h.Runtime.Manual(true)
	h.CreatePool(pool)
	h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool { return p.Status.Replicas == 1 })
	task := oneShot("task")
	task.Spec.Retries = 3
	h.CreateTask(task)
	if s := failed(h, "task", v1alpha1.TaskReasonAllocationTimeout, v1alpha1.FailureInfrastructure); s.Attempts != 0 {
		t.Errorf("it says %+v", s)
	}
}

// TestStepsGetTheirGraceWhenTheirSandboxEnds deletes the sandbox of a task whose steps take a while
// to end. Their pod stays until they have, and what they wrote is kept.
func TestStepsGetTheirGraceWhenTheirSandboxEnds(t *testing.T) {
	told, save := make(chan string, 1), make(chan struct{})
	h := schedulertest.New(t)
	h.Runtime.Behave = func(ctx context.Context, execution wire.Execution) wire.ExecutionResult {
		result := schedulertest.Hang(ctx, execution)
		told <- result.Message
		<-save
		result.Stdout = []byte("saved")
		return result
	}
	h, _ = ready(t, h)
	task := schedulertest.Task("task", "box")
	task.Spec.TerminationGracePeriodSeconds = ptr.To[int32](3600)
	h.CreateTask(task)
	pod := h.WaitState("task", v1alpha1.TaskRunning).Status.PodName
	if err := h.API.ArlV1alpha1().Sandboxes(schedulertest.Namespace).Delete(context.Background(), "box", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if why := <-told; !strings.Contains(why, `sandbox "box" was deleted`) {
		t.Errorf("the agent was told %q", why)
	}
	// Another sandbox of the name does not wait for that one's steps.
	h.WaitIdle("pool", 1)
	h.CreateSandbox(schedulertest.Sandbox("box", "pool"))
	if h.Runtime.Pod(pod) == nil {
		t.Error("the pod is gone before the steps have ended")
	}
	close(save)
	if s := failed(h, "task", v1alpha1.TaskReasonSandboxDeleted, v1alpha1.FailureUser); s.Stdout != "saved" || strings.Contains(s.Message, "may have run") {
		t.Errorf("it says %+v", s)
	}
	h.Eventually("its pod is deleted", func() error {
		if h.Runtime.Pod(pod) != nil {
			return fmt.Errorf("it is there")
		}
		return nil
	})
}

// TestStepsThatOutliveTheirGrace has the steps of a deleted sandbox not end: their pod is deleted.
func TestStepsThatOutliveTheirGrace(t *testing.T) {
	release := make(chan struct{})
	h, pod := frozenBox(t, func(ctx context.Context, execution wire.Execution) wire.ExecutionResult {
		<-release
		return schedulertest.Succeed(ctx, execution)
	})
	task := schedulertest.Task("task", "box")
	task.Spec.TerminationGracePeriodSeconds = ptr.To[int32](60)
	h.CreateTask(task)
	waitRunning(h, "task")
	h.API.Remove("sandboxes", "box")
	h.WaitTask("task", func(t *v1alpha1.Task) bool {
		h.Clock.Step(100 * time.Millisecond)
		return t.Status.State == v1alpha1.TaskFailed
	})
	if s := failed(h, "task", v1alpha1.TaskReasonSandboxDeleted, v1alpha1.FailureUser); !strings.Contains(s.Message, "may have run") {
		t.Errorf("it says %s", s.Message)
	}
	close(release)
	h.Eventually("its pod is deleted", func() error {
		if h.Runtime.Pod(pod.Name) != nil {
			return fmt.Errorf("it is there")
		}
		return nil
	})
}

// TestTheGuardWaitsForTheGrace lets a task's timeout pass, and then most of its grace.
func TestTheGuardWaitsForTheGrace(t *testing.T) {
	g := newGate()
	h, _ := frozenBox(t, g.behave)
	task := schedulertest.Task("task", "box")
	task.Spec.Timeout, task.Spec.TerminationGracePeriodSeconds = "10s", ptr.To[int32](60)
	h.CreateTask(task)
	waitRunning(h, "task")
	h.Pass(65 * time.Second)
	g.lift()
	h.WaitState("task", v1alpha1.TaskSucceeded)
}
