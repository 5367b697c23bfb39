package execute_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

// failed waits for a task's failure and compares what it says.
func failed(h *schedulertest.Harness, name, reason string, class v1alpha1.FailureClass) v1alpha1.TaskStatus {
	h.TB.Helper()
	s := h.WaitState(name, v1alpha1.TaskFailed).Status
	if s.Reason != reason || s.FailureClass != class || s.Message == "" || s.CompletionTime == nil {
		h.TB.Errorf("%s failed with %s/%s: %q; want %s/%s", name, s.Reason, s.FailureClass, s.Message, reason, class)
	}
	return s
}

func TestATaskOnAMissingSandbox(t *testing.T) {
	h := schedulertest.NewFrozen(t).Start()
	h.CreateTask(schedulertest.Task("lost", "nowhere"))
	h.WaitTask("lost", func(t *v1alpha1.Task) bool {
		h.Clock.Step(10 * time.Millisecond)
		return t.Status.Reason == v1alpha1.TaskReasonWaitingForSandbox
	})
	h.Pass(scheduler.DefaultSandboxGrace)
	s := failed(h, "lost", v1alpha1.TaskReasonSandboxNotFound, v1alpha1.FailureUser)
	if !strings.Contains(s.Message, `"nowhere"`) || s.Attempts != 0 || len(s.Steps) != 1 || s.Steps[0].State != v1alpha1.StepSkipped {
		t.Errorf("it says %+v", s)
	}
}

func TestAnyOrderConverges(t *testing.T) {
	creates := map[string]func(h *schedulertest.Harness){
		"pool":    func(h *schedulertest.Harness) { h.CreatePool(schedulertest.Pool("pool", 1)) },
		"sandbox": func(h *schedulertest.Harness) { h.CreateSandbox(schedulertest.Sandbox("box", "pool")) },
		"task":    func(h *schedulertest.Harness) { h.CreateTask(schedulertest.Task("task", "box")) },
	}
	for _, order := range [][]string{
		{"pool", "sandbox", "task"}, {"pool", "task", "sandbox"}, {"sandbox", "pool", "task"},
		{"sandbox", "task", "pool"}, {"task", "pool", "sandbox"}, {"task", "sandbox", "pool"},
	} {
		t.Run(strings.Join(order, ","), func(t *testing.T) {
			h := schedulertest.New(t).Start()
			for _, what := range order {
				creates[what](h)
			}
			h.WaitState("task", v1alpha1.TaskSucceeded)
		})
	}
}

func TestCancel(t *testing.T) {
	h := schedulertest.New(t)
	h.Runtime.Behave = schedulertest.Hang
	h, agent := ready(t, h)
	h.CreateTask(schedulertest.Task("runs", "box"))
	h.CreateTask(schedulertest.Task("waits", "box"))
	h.WaitState("runs", v1alpha1.TaskRunning)
	cancel(t, h, "waits")
	if s := failed(h, "waits", v1alpha1.TaskReasonCancelled, v1alpha1.FailureUser); s.Attempts != 0 {
		t.Errorf("it says %+v", s)
	}
	cancel(t, h, "runs")
	if s := failed(h, "runs", v1alpha1.TaskReasonCancelled, v1alpha1.FailureUser); s.Attempts != 1 {
		t.Errorf("it says %+v", s)
	}
	began(h, agent, 1)
	born := schedulertest.Task("stillborn", "box")
	born.Spec.Cancel = true
	h.CreateTask(born)
	failed(h, "stillborn", v1alpha1.TaskReasonCancelled, v1alpha1.FailureUser)
	began(h, agent, 1)
}

// TestCancelJustBeforeTheTaskIsMarked has the scheduler hear of a cancel from the
// conflict of its own write, before the watch tells.
func TestCancelJustBeforeTheTaskIsMarked(t *testing.T) {
	h := schedulertest.NewFrozen(t)
	h.Runtime.Behave = schedulertest.Hang
	h.Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool {
		h.Clock.Step(10 * time.Millisecond)
		return p.Status.ReadyReplicas == 1
	})
	agent := h.Runtime.Pod(h.CreateSandbox(schedulertest.Sandbox("box", "pool")).Status.PodName).Agent
	h.CreateTask(schedulertest.Task("task", "box"))
	began(h, agent, 1)
	h.API.Pause("tasks")
	cancel(t, h, "task")
	h.WaitTask("task", func(task *v1alpha1.Task) bool {
		h.Clock.Step(10 * time.Millisecond)
		return task.Status.State != v1alpha1.TaskPending && task.Status.State != ""
	})
	h.API.Resume("tasks")
	failed(h, "task", v1alpha1.TaskReasonCancelled, v1alpha1.FailureUser)
}

// TestCancelReachesAnAgentThatDoesNotListen cancels a task whose agent cannot be reached at first.
func TestCancelReachesAnAgentThatDoesNotListen(t *testing.T) {
	h := schedulertest.New(t)
	h.Runtime.Behave = schedulertest.Hang
	h, agent := ready(t, h)
	h.CreateTask(schedulertest.Task("task", "box"))
	h.WaitState("task", v1alpha1.TaskRunning)
	agent.Deaf(true)
	cancel(t, h, "task")
	<-time.After(50 * time.Millisecond)
	agent.Deaf(false)
	failed(h, "task", v1alpha1.TaskReasonCancelled, v1alpha1.FailureUser)
}

func TestDeletedTasksAreStopped(t *testing.T) {
	h := schedulertest.New(t)
	h.Runtime.Behave = schedulertest.Hang
	h, agent := ready(t, h)
	for _, name := range []string{"runs", "waits", "next"} {
		h.CreateTask(schedulertest.Task(name, "box"))
	}
	h.WaitState("runs", v1alpha1.TaskRunning)
	for _, name := range []string{"waits", "runs"} {
		if err := tasks(h).Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	h.WaitState("next", v1alpha1.TaskRunning)
	began(h, agent, 2)
	if n := len(agent.Dropped()); n != 1 {
		t.Errorf("the agent was told to forget %d executions", n)
	}
}

func TestATaskWithAFinalizerEndsWhenItIsDeleted(t *testing.T) {
	h := schedulertest.New(t)
	h.Runtime.Behave = schedulertest.Hang
	ready(t, h)
	task := schedulertest.Task("task", "box")
	task.Finalizers = []string{"example.com/wait"}
	h.CreateTask(task)
	h.WaitState("task", v1alpha1.TaskRunning)
	if err := tasks(h).Delete(context.Background(), "task", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	failed(h, "task", v1alpha1.TaskReasonCancelled, v1alpha1.FailureUser)
}

func TestALostSandbox(t *testing.T) {
	tests := map[string]struct {
		lose            func(h *schedulertest.Harness, pod string)
		running, queued string
	}{
		"its pod fails":   {func(h *schedulertest.Harness, pod string) { h.Runtime.Fail(pod, podruntime.ReasonExited, "too greedy") }, v1alpha1.TaskReasonAgentLost, v1alpha1.TaskReasonSandboxFailed},
		"its pod is gone": {func(h *schedulertest.Harness, pod string) { h.Runtime.Lose(pod) }, v1alpha1.TaskReasonAgentLost, v1alpha1.TaskReasonSandboxFailed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := schedulertest.New(t)
			h.Runtime.Behave = schedulertest.Hang
			ready(t, h)
			for _, name := range []string{"runs", "waits"} {
				task := schedulertest.Task(name, "box")
				task.Spec.Retries = 3
				h.CreateTask(task)
			}
			pod := h.WaitState("runs", v1alpha1.TaskRunning).Status.PodName
			test.lose(h, pod)
			if s := failed(h, "runs", test.running, v1alpha1.FailureInfrastructure); !strings.Contains(s.Message, "steps may have run") {
				t.Errorf("it does not say that steps may have run: %s", s.Message)
			}
			if s := failed(h, "waits", test.queued, v1alpha1.FailureInfrastructure); strings.Contains(s.Message, "steps may have run") {
				t.Errorf("it says that steps may have run: %s", s.Message)
			}
		})
	}
}

// TestAPodThatUsedTooMuchMemory has the kernel end a pod as a whole: that is the user's doing, and not
// tried again.
func TestAPodThatUsedTooMuchMemory(t *testing.T) {
	h := schedulertest.New(t)
	h.Runtime.Behave = schedulertest.Hang
	h.Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	task := schedulertest.Task("task", "")
	task.Spec.PoolRef, task.Spec.Retries = "pool", 3
	h.CreateTask(task)
	running := h.WaitState("task", v1alpha1.TaskRunning)
	h.Runtime.Fail(running.Status.PodName, podruntime.ReasonOOM, "the kernel ended the pod")
	s := failed(h, "task", v1alpha1.TaskReasonSandboxFailed, v1alpha1.FailureUser)
	if s.Attempts != 1 {
		t.Errorf("there were %d attempts", s.Attempts)
	}
	for _, word := range []string{v1alpha1.SandboxReasonOOMKilled, "the kernel ended the pod", "resources.limits.memory", `pool "pool"`, "steps may have run"} {
		if !strings.Contains(s.Message, word) {
			t.Errorf("no %q in %s", word, s.Message)
		}
	}
}

func TestALateTaskOfAFailedSandbox(t *testing.T) {
	h := schedulertest.New(t)
	h.Runtime.Behave = schedulertest.Hang
	ready(t, h)
	h.CreateTask(schedulertest.Task("first", "box"))
	h.Runtime.Fail(h.WaitState("first", v1alpha1.TaskRunning).Status.PodName, podruntime.ReasonExited, "too greedy")
	// Once this has ended the executor knows: the watch may tell it later than
	// it tells the test.
	failed(h, "first", v1alpha1.TaskReasonAgentLost, v1alpha1.FailureInfrastructure)
	h.CreateTask(schedulertest.Task("late", "box"))
	if s := failed(h, "late", v1alpha1.TaskReasonSandboxFailed, v1alpha1.FailureInfrastructure); !strings.Contains(s.Message, "too greedy") {
		t.Errorf("it does not say why: %s", s.Message)
	}
}

// TestAnAgentThatComesBack has a request to run steps not arrive. The agent's process that was asked
// is the one that does not know of it: it is asked again, and runs them once.
func TestAnAgentThatComesBack(t *testing.T) {
	h := schedulertest.New(t)
	h, agent := ready(t, h)
	h.CreateTask(schedulertest.Task("before", "box"))
	h.WaitState("before", v1alpha1.TaskSucceeded)
	agent.Deaf(true)
	h.CreateTask(schedulertest.Task("task", "box"))
	h.WaitState("task", v1alpha1.TaskRunning)
	agent.Deaf(false)
	h.WaitState("task", v1alpha1.TaskSucceeded)
	began(h, agent, 2)
}

// TestAnAgentThatWasRestarted has another process of the agent answer than the one that was asked.
func TestAnAgentThatWasRestarted(t *testing.T) {
	h := schedulertest.New(t)
	h, agent := ready(t, h)
	h.CreateTask(schedulertest.Task("before", "box"))
	h.WaitState("before", v1alpha1.TaskSucceeded)
	agent.Deaf(true)
	h.CreateTask(schedulertest.Task("task", "box"))
	h.WaitState("task", v1alpha1.TaskRunning)
	agent.Restart()
	agent.Deaf(false)
	if s := failed(h, "task", v1alpha1.TaskReasonAgentLost, v1alpha1.FailureInfrastructure); !strings.Contains(s.Message, "steps may have run") {
		t.Errorf("it says %s", s.Message)
	}
	h.CreateTask(schedulertest.Task("next", "box"))
	h.WaitState("next", v1alpha1.TaskSucceeded)
}

// TestABrokenConnectionIsTakenUp cuts the connection in mid-run: the execution goes on.
func TestABrokenConnectionIsTakenUp(t *testing.T) {
	h := schedulertest.New(t)
	release := make(chan struct{})
	h.Runtime.Behave = func(ctx context.Context, execution wire.Execution) wire.ExecutionResult {
		<-release
		return schedulertest.Succeed(ctx, execution)
	}
	h, agent := ready(t, h)
	h.CreateTask(schedulertest.Task("task", "box"))
	h.WaitState("task", v1alpha1.TaskRunning)
	agent.Deaf(true)
	close(release)
	<-time.After(50 * time.Millisecond)
	agent.Deaf(false)
	if s := h.WaitState("task", v1alpha1.TaskSucceeded).Status; s.Stdout != "task" {
		t.Errorf("it says %+v", s)
	}
	began(h, agent, 1)
}

func TestAnAgentThatNeverEnds(t *testing.T) {
	h := schedulertest.NewFrozen(t)
	h.Runtime.Behave = schedulertest.Hang
	h.Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool {
		h.Clock.Step(10 * time.Millisecond)
		return p.Status.ReadyReplicas == 1
	})
	h.CreateSandbox(schedulertest.Sandbox("box", "pool"))
	task := schedulertest.Task("task", "box")
	task.Spec.Timeout, task.Spec.Retries = "10s", 3
	h.CreateTask(task)
	h.WaitTask("task", func(t *v1alpha1.Task) bool {
		h.Clock.Step(10 * time.Millisecond)
		return t.Status.State == v1alpha1.TaskRunning
	})
	h.Pass(45 * time.Second)
	failed(h, "task", v1alpha1.TaskReasonAgentLost, v1alpha1.FailureInfrastructure)
}

func TestAStepTheAgentRefuses(t *testing.T) {
	h, agent := ready(t, schedulertest.New(t))
	task := schedulertest.Task("task", "box")
	task.Spec.Steps[0].Name = "invalid"
	task.Spec.Retries, task.Spec.RetryPolicy = 5, v1alpha1.RetryAlways
	h.CreateTask(task)
	failed(h, "task", v1alpha1.TaskReasonInvalidStep, v1alpha1.FailureUser)
	began(h, agent, 0)
}

func TestRetries(t *testing.T) {
	tests := map[string]struct {
		policy  v1alpha1.RetryPolicy
		retries int32
		fails   int32
		state   v1alpha1.TaskState
		begun   int
	}{
		"a failed step is not tried again":   {v1alpha1.RetryInfrastructure, 3, 1, v1alpha1.TaskFailed, 1},
		"unless that is asked for":           {v1alpha1.RetryAlways, 3, 2, v1alpha1.TaskSucceeded, 3},
		"and then as often as it is allowed": {v1alpha1.RetryAlways, 1, 9, v1alpha1.TaskFailed, 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := schedulertest.New(t)
			var calls atomic.Int32
			h.Runtime.Behave = func(ctx context.Context, execution wire.Execution) wire.ExecutionResult {
				if calls.Add(1) <= test.fails {
					return wire.ExecutionResult{State: wire.Failed, Reason: wire.ReasonStepFailed, Message: "not yet"}
				}
				return schedulertest.Succeed(ctx, execution)
			}
			h, agent := ready(t, h)
			task := schedulertest.Task("task", "box")
			task.Spec.Retries, task.Spec.RetryPolicy = test.retries, test.policy
			created := h.CreateTask(task)
			got := h.WaitState("task", test.state).Status
			if got.Attempts != int32(test.begun) {
				t.Errorf("%d attempts, want %d", got.Attempts, test.begun)
			}
			for i, id := range agent.Began() {
				if want := fmt.Sprintf("%s-%d", created.UID, i+1); id != want {
					t.Errorf("attempt %d was begun as %s, want %s", i+1, id, want)
				}
			}
			began(h, agent, test.begun)
		})
	}
}

func TestARetrySaysSo(t *testing.T) {
	h := schedulertest.NewFrozen(t)
	h.Runtime.Behave = func(context.Context, wire.Execution) wire.ExecutionResult {
		return wire.ExecutionResult{State: wire.Failed, Reason: wire.ReasonStepFailed, Message: "not yet"}
	}
	h.Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool {
		h.Clock.Step(10 * time.Millisecond)
		return p.Status.ReadyReplicas == 1
	})
	agent := h.Runtime.Pod(h.CreateSandbox(schedulertest.Sandbox("box", "pool")).Status.PodName).Agent
	task := schedulertest.Task("task", "box")
	task.Spec.Retries, task.Spec.RetryPolicy = 5, v1alpha1.RetryAlways
	h.CreateTask(task)
	h.CreateTask(schedulertest.Task("next", "box"))
	s := h.WaitTask("task", func(t *v1alpha1.Task) bool { return t.Status.Reason == v1alpha1.TaskReasonRetrying }).Status
	if s.State != v1alpha1.TaskPending || s.Attempts != 1 || s.CompletionTime != nil || s.FailureClass != "" || !strings.Contains(s.Message, "not yet") {
		t.Errorf("it says %+v", s)
	}
	// Others of the sandbox wait for it.
	began(h, agent, 1)
	cancel(t, h, "task")
	failed(h, "task", v1alpha1.TaskReasonCancelled, v1alpha1.FailureUser)
	failed(h, "next", v1alpha1.TaskReasonStepFailed, v1alpha1.FailureUser)
}

// TestAnOutcomeThatCannotBeStored keeps the outcome with the agent until it is.
func TestAnOutcomeThatCannotBeStored(t *testing.T) {
	h := schedulertest.New(t)
	h, agent := ready(t, h)
	var full atomic.Bool
	full.Store(true)
	var refused atomic.Int32
	h.API.SetFault(func(r schedulertest.Request) error {
		if r.Resource == "tasks" && r.Subresource == "status" && full.Load() {
			refused.Add(1)
			return apierrors.NewInternalError(errors.New("no space left on device"))
		}
		return nil
	})
	h.CreateTask(schedulertest.Task("task", "box", "precious"))
	h.Eventually("the write is tried again", func() error {
		if refused.Load() < 4 {
			return errors.New("not yet")
		}
		return nil
	})
	if len(agent.Dropped()) != 0 {
		t.Fatal("the agent was told to forget an outcome that is not stored")
	}
	h.Restart()
	full.Store(false)
	if s := h.WaitState("task", v1alpha1.TaskSucceeded).Status; s.Stdout != "precious" || s.Attempts != 1 {
		t.Errorf("it says %+v", s)
	}
	began(h, agent, 1)
}

func TestAnOutcomeThatIsTooLargeIsStoredWithoutOutput(t *testing.T) {
	h, _ := ready(t, schedulertest.New(t))
	h.API.SetFault(func(r schedulertest.Request) error {
		if task, ok := r.Object.(*v1alpha1.Task); ok && task.Status.Stdout != "" {
			return apierrors.NewRequestEntityTooLargeError("limit is 3145728")
		}
		return nil
	})
	h.CreateTask(schedulertest.Task("task", "box"))
	s := h.WaitState("task", v1alpha1.TaskSucceeded).Status
	if s.Stdout != "" || !strings.Contains(s.Message, "output and details are left out") || *s.ExitCode != 0 || len(s.Steps) != 1 {
		t.Errorf("it says %+v", s)
	}
	if s.Output == nil || s.Output.Stdout.Bytes != int64(len("task")) || !s.Output.Stdout.Truncated || s.Output.Stderr.Truncated {
		t.Errorf("it says %+v", s)
	}
}

func TestEditsOfOthersDoNotCostTheOutcome(t *testing.T) {
	h := schedulertest.New(t)
	release := make(chan struct{})
	h.Runtime.Behave = func(ctx context.Context, execution wire.Execution) wire.ExecutionResult {
		<-release
		return schedulertest.Succeed(ctx, execution)
	}
	ready(t, h)
	h.CreateTask(schedulertest.Task("task", "box"))
	h.API.Pause("tasks")
	task, err := tasks(h).Get(context.Background(), "task", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	task.Labels = map[string]string{"mine": "yes"}
	if _, err := tasks(h).Update(context.Background(), task, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	h.API.Resume("tasks")
	close(release)
	if got := h.WaitState("task", v1alpha1.TaskSucceeded); got.Labels["mine"] != "yes" || got.Status.Stdout != "task" {
		t.Errorf("it is %+v", got)
	}
}

// TestATaskEndedBySomebodyElse is left alone.
func TestATaskEndedBySomebodyElse(t *testing.T) {
	h := schedulertest.New(t)
	h.Runtime.Behave = schedulertest.Hang
	h, agent := ready(t, h)
	h.CreateTask(schedulertest.Task("runs", "box"))
	h.WaitState("runs", v1alpha1.TaskRunning)
	h.CreateTask(schedulertest.Task("waits", "box"))
	h.CreateTask(schedulertest.Task("next", "box"))
	for _, name := range []string{"waits", "runs"} {
		h.Eventually(name+" is ended", func() error {
			task, err := tasks(h).Get(context.Background(), name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			task.Status.State, task.Status.Reason = v1alpha1.TaskSucceeded, "ByHand"
			_, err = tasks(h).UpdateStatus(context.Background(), task, metav1.UpdateOptions{})
			return err
		})
	}
	h.WaitState("next", v1alpha1.TaskRunning)
	began(h, agent, 2)
	for _, name := range []string{"waits", "runs"} {
		if got := h.WaitState(name, v1alpha1.TaskSucceeded); got.Status.Reason != "ByHand" {
			t.Errorf("%s says %+v", name, got.Status)
		}
	}
}
