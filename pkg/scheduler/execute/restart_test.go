package execute_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

// gate is a Behaviour that holds executions until it is opened.
type gate struct {
	once sync.Once
	open chan struct{}
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

func (g *gate) behave(ctx context.Context, execution wire.Execution) wire.ExecutionResult {
	select {
	case <-g.open:
		return schedulertest.Succeed(ctx, execution)
	case <-ctx.Done():
		return schedulertest.Hang(ctx, execution)
	}
}

func (g *gate) lift() { g.once.Do(func() { close(g.open) }) }

// TestRestartInMidRun stops the server while a task runs, has something happen
// meanwhile, and starts it again: the task ends, and nothing ran twice.
func TestRestartInMidRun(t *testing.T) {
	type happening func(h *schedulertest.Harness, g *gate, pod *schedulertest.Pod)
	nothing := func(*schedulertest.Harness, *gate, *schedulertest.Pod) {}
	tests := map[string]struct {
		// early stops the server before the status says Running.
		early     bool
		meanwhile happening
		after     happening
		state     v1alpha1.TaskState
		reason    string
		mayHave   bool
	}{
		"it goes on":                    {false, nothing, nothing, v1alpha1.TaskSucceeded, v1alpha1.TaskReasonCompleted, false},
		"it goes on, not told yet":      {true, nothing, nothing, v1alpha1.TaskSucceeded, v1alpha1.TaskReasonCompleted, false},
		"it ended":                      {false, func(_ *schedulertest.Harness, g *gate, _ *schedulertest.Pod) { g.lift() }, nothing, v1alpha1.TaskSucceeded, v1alpha1.TaskReasonCompleted, false},
		"it ended, not told yet":        {true, func(_ *schedulertest.Harness, g *gate, _ *schedulertest.Pod) { g.lift() }, nothing, v1alpha1.TaskSucceeded, v1alpha1.TaskReasonCompleted, false},
		"its pod is gone":               {false, func(h *schedulertest.Harness, _ *gate, p *schedulertest.Pod) { h.Runtime.Lose(p.Name) }, nothing, v1alpha1.TaskFailed, v1alpha1.TaskReasonAgentLost, true},
		"its pod is gone, not told yet": {true, func(h *schedulertest.Harness, _ *gate, p *schedulertest.Pod) { h.Runtime.Lose(p.Name) }, nothing, v1alpha1.TaskFailed, v1alpha1.TaskReasonAgentLost, true},
		"its agent forgot it":           {false, func(_ *schedulertest.Harness, _ *gate, p *schedulertest.Pod) { p.Agent.Restart() }, nothing, v1alpha1.TaskFailed, v1alpha1.TaskReasonAgentLost, true},
		"its sandbox is gone":           {false, func(h *schedulertest.Harness, _ *gate, _ *schedulertest.Pod) { h.API.Remove("sandboxes", "box") }, nothing, v1alpha1.TaskFailed, v1alpha1.TaskReasonSandboxDeleted, true},
		"it is cancelled":               {false, cancelIt, nothing, v1alpha1.TaskFailed, v1alpha1.TaskReasonCancelled, false},
		"it is cancelled, not told yet": {true, cancelIt, nothing, v1alpha1.TaskFailed, v1alpha1.TaskReasonCancelled, false},
		"it is cancelled after":         {false, nothing, cancelIt, v1alpha1.TaskFailed, v1alpha1.TaskReasonCancelled, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h, g := schedulertest.New(t), newGate()
			h.Runtime.Behave = g.behave
			h, agent := ready(t, h)
			h.CreateTask(schedulertest.Task("task", "box"))
			began(h, agent, 1)
			if !test.early {
				h.WaitState("task", v1alpha1.TaskRunning)
			}
			h.Stop()
			if got := h.WaitTask("task", func(*v1alpha1.Task) bool { return true }); test.early && got.Status.State != v1alpha1.TaskPending {
				t.Skipf("the machine was too slow: the task was %s already", got.Status.State)
			}
			pod := h.Runtime.Pod(h.WaitPhase("box", v1alpha1.SandboxReady).Status.PodName)
			test.meanwhile(h, g, pod)
			h.Start()
			test.after(h, g, pod)
			if test.state == v1alpha1.TaskSucceeded {
				g.lift()
			}
			got := h.WaitState("task", test.state).Status
			if got.Reason != test.reason || strings.Contains(got.Message, "steps may have run") != test.mayHave {
				t.Errorf("it ended as %s: %s; want %s", got.Reason, got.Message, test.reason)
			}
			if got.State == v1alpha1.TaskSucceeded && (got.Stdout != "task" || got.Attempts != 1) {
				t.Errorf("it says %+v", got)
			}
			began(h, agent, 1)
		})
	}
}

func cancelIt(h *schedulertest.Harness, _ *gate, _ *schedulertest.Pod) {
	h.Eventually("it is cancelled", func() error {
		task, err := tasks(h).Get(context.Background(), "task", metav1.GetOptions{})
		if err != nil {
			return err
		}
		task.Spec.Cancel = true
		_, err = tasks(h).Update(context.Background(), task, metav1.UpdateOptions{})
		return err
	})
}

// TestRestartsUnderLoad restarts the server again and again while twenty tasks
// run and others wait: every one ends, none is begun twice, and the order is kept.
func TestRestartsUnderLoad(t *testing.T) {
	h := schedulertest.New(t).Start()
	h.CreatePool(schedulertest.Pool("pool", 4))
	h.WaitIdle("pool", 4)
	var agents []*schedulertest.Agent
	for i := range 4 {
		box := h.CreateSandbox(schedulertest.Sandbox(fmt.Sprintf("box-%d", i), "pool"))
		agents = append(agents, h.Runtime.Pod(box.Status.PodName).Agent)
	}
	const each = 40
	want := make([][]string, 4)
	for n := range each {
		for i := range 4 {
			created := h.CreateTask(schedulertest.Task(fmt.Sprintf("t-%d-%d", i, n), fmt.Sprintf("box-%d", i)))
			want[i] = append(want[i], string(created.UID)+"-1")
		}
		if n%8 == 7 {
			h.Restart()
		}
	}
	for i := range 4 {
		for n := range each {
			name := fmt.Sprintf("t-%d-%d", i, n)
			if got := h.WaitState(name, v1alpha1.TaskSucceeded); got.Status.Stdout != name || got.Status.Attempts != 1 {
				t.Errorf("%s says %+v", name, got.Status)
			}
		}
		if diff := cmp.Diff(want[i], agents[i].Began()); diff != "" {
			t.Errorf("box-%d ran: -want +got:\n%s", i, diff)
		}
	}
}

// TestAPendingCancelDuringARestart cancels a task that waits behind another while the server is down.
func TestAPendingCancelDuringARestart(t *testing.T) {
	h := schedulertest.New(t)
	h.Runtime.Behave = schedulertest.Hang
	h, agent := ready(t, h)
	h.CreateTask(schedulertest.Task("runs", "box"))
	h.WaitState("runs", v1alpha1.TaskRunning)
	h.CreateTask(schedulertest.Task("task", "box"))
	h.Stop()
	cancelIt(h, nil, nil)
	h.Start()
	failed(h, "task", v1alpha1.TaskReasonCancelled, v1alpha1.FailureUser)
	h.WaitState("runs", v1alpha1.TaskRunning)
	began(h, agent, 1)
}

func TestARetryGoesOnAfterARestart(t *testing.T) {
	h := schedulertest.New(t)
	h.Runtime.Behave = func(ctx context.Context, execution wire.Execution) wire.ExecutionResult {
		if strings.HasSuffix(execution.ID, "-1") {
			return wire.ExecutionResult{State: wire.Failed, Reason: wire.ReasonStepFailed}
		}
		return schedulertest.Succeed(ctx, execution)
	}
	h, agent := ready(t, h)
	task := schedulertest.Task("task", "box")
	task.Spec.Retries, task.Spec.RetryPolicy = 1, v1alpha1.RetryAlways
	created := h.CreateTask(task)
	h.WaitTask("task", func(t *v1alpha1.Task) bool { return t.Status.Reason == v1alpha1.TaskReasonRetrying })
	h.Restart()
	if s := h.WaitState("task", v1alpha1.TaskSucceeded).Status; s.Attempts != 2 {
		t.Errorf("it says %+v", s)
	}
	want := []string{string(created.UID) + "-1", string(created.UID) + "-2"}
	if diff := cmp.Diff(want, agent.Began()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestFinishedTasksAreLeftAloneByARestart(t *testing.T) {
	h, agent := ready(t, schedulertest.New(t))
	h.CreateTask(schedulertest.Task("task", "box"))
	before := h.WaitState("task", v1alpha1.TaskSucceeded)
	h.Restart()
	h.CreateTask(schedulertest.Task("next", "box"))
	h.WaitState("next", v1alpha1.TaskSucceeded)
	after, err := tasks(h).Get(context.Background(), "task", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
	began(h, agent, 2)
}
