package execute_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler/execute"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

// stepwise is a Behaviour that goes on to the next step when it is told to.
type stepwise struct{ next chan struct{} }

func (s stepwise) behave(ctx context.Context, execution wire.Execution) wire.ExecutionResult {
	for i := range execution.Steps {
		schedulertest.Report(ctx, schedulertest.StepStarted(i))
		<-s.next
		schedulertest.Report(ctx, schedulertest.StepFinished(i))
	}
	return schedulertest.Succeed(ctx, execution)
}

// threeSteps returns a task of three commands.
func threeSteps() *v1alpha1.Task {
	task := schedulertest.Task("task", "box")
	task.Spec.Steps = nil
	for _, name := range []string{"one", "two", "three"} {
		task.Spec.Steps = append(task.Spec.Steps, v1alpha1.TaskStep{Name: name, Type: v1alpha1.StepCommand, Command: []string{name}})
	}
	return task
}

func states(task *v1alpha1.Task) string {
	var all []string
	for _, step := range task.Status.Steps {
		all = append(all, string(step.State))
	}
	return strings.Join(all, " ")
}

// TestARunningTaskShowsItsSteps has the write that says Running say which step runs, and later
// ones follow the steps.
func TestARunningTaskShowsItsSteps(t *testing.T) {
	h, s := schedulertest.New(t), stepwise{make(chan struct{})}
	h.Runtime.Behave = s.behave
	ready(t, h)
	h.CreateTask(threeSteps())
	first := h.WaitState("task", v1alpha1.TaskRunning)
	if got := states(first); got != "Running Pending Pending" || first.Status.Steps[0].StartTime == nil || first.Status.Steps[0].Name != "one" {
		t.Errorf("the steps are %s: %+v", got, first.Status.Steps)
	}
	s.next <- struct{}{}
	h.WaitTask("task", func(task *v1alpha1.Task) bool { return states(task) == "Succeeded Running Pending" })
	h.Restart()
	s.next <- struct{}{}
	h.WaitTask("task", func(task *v1alpha1.Task) bool { return states(task) == "Succeeded Succeeded Running" })
	s.next <- struct{}{}
	if got := states(h.WaitState("task", v1alpha1.TaskSucceeded)); got != "Succeeded Succeeded Succeeded" {
		t.Errorf("the steps are %s", got)
	}
}

// TestAShortTaskCostsOneWrite counts the status writes of a task that ends at once.
func TestAShortTaskCostsOneWrite(t *testing.T) {
	h, _ := ready(t, schedulertest.New(t))
	before := h.API.Writes("update tasks/status")
	h.CreateTask(threeSteps())
	h.WaitState("task", v1alpha1.TaskSucceeded)
	if n := h.API.Writes("update tasks/status") - before; n != 1 {
		t.Errorf("it cost %d writes of the status", n)
	}
}

// TestALargeTaskCostsTwoWrites has a task with a large file run for long, step after step. The
// agent gets the whole of it, though the scheduler keeps only the outline.
func TestALargeTaskCostsTwoWrites(t *testing.T) {
	content := strings.Repeat("x", 100<<10)
	h, s := schedulertest.New(t), stepwise{make(chan struct{})}
	got := make(chan wire.Execution, 1)
	h.Runtime.Behave = func(ctx context.Context, execution wire.Execution) wire.ExecutionResult {
		got <- execution
		return s.behave(ctx, execution)
	}
	ready(t, h)
	task := threeSteps()
	task.Spec.Steps[1] = v1alpha1.TaskStep{Name: "write", Type: v1alpha1.StepFilePatch, Path: "file", Content: &content}
	before := h.API.Writes("update tasks/status")
	h.CreateTask(task)
	if steps := (<-got).Steps; steps[1].Content == nil || *steps[1].Content != content || steps[0].Command[0] != "one" {
		t.Error("the agent did not get the whole task")
	}
	h.WaitState("task", v1alpha1.TaskRunning)
	for range task.Spec.Steps {
		s.next <- struct{}{}
	}
	done := h.WaitState("task", v1alpha1.TaskSucceeded)
	if n := h.API.Writes("update tasks/status") - before; n != 2 {
		t.Errorf("it cost %d writes of the status", n)
	}
	if *done.Spec.Steps[1].Content != content {
		t.Error("the stored task has lost its content")
	}
}

// TestTrimKeepsTheOutlineOfALargeTask compares what the scheduler keeps of a task.
func TestTrimKeepsTheOutlineOfALargeTask(t *testing.T) {
	small, large := threeSteps(), threeSteps()
	large.Spec.Steps[2].Stdin, large.Spec.Steps[2].Timeout = strings.Repeat("x", 17<<10), "1s"
	large.Annotations = map[string]string{"large": strings.Repeat("x", 1<<10)}
	want := large.DeepCopy()
	want.Annotations = nil
	for i := range want.Spec.Steps {
		want.Spec.Steps[i].Command, want.Spec.Steps[i].Stdin = nil, ""
	}
	for _, test := range []struct{ task, want *v1alpha1.Task }{{small, small.DeepCopy()}, {large, want}} {
		for range 2 {
			got, err := execute.Trim(test.task)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		}
	}
}

// TestTheAgentGetsTraceAndGrace compares the environment and the grace of an execution.
func TestTheAgentGetsTraceAndGrace(t *testing.T) {
	got := make(chan wire.Execution, 1)
	h := schedulertest.New(t)
	h.Runtime.Behave = func(ctx context.Context, execution wire.Execution) wire.ExecutionResult {
		got <- execution
		return schedulertest.Succeed(ctx, execution)
	}
	h.Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	h.WaitIdle("pool", 1)
	box := schedulertest.Sandbox("box", "pool")
	box.Spec.Env = map[string]string{"A": "1"}
	h.CreateSandbox(box)
	for name, test := range map[string]struct {
		traceID string
		grace   *int32
		env     map[string]string
		millis  int64
	}{
		"plain":  {"", nil, map[string]string{"A": "1"}, 2000},
		"traced": {"run/7", ptr.To[int32](0), map[string]string{"A": "1", "ARL_TRACE_ID": "run/7"}, 0},
	} {
		task := schedulertest.Task(name, "box")
		task.Spec.TraceID, task.Spec.TerminationGracePeriodSeconds = test.traceID, test.grace
		h.CreateTask(task)
		execution := <-got
		if diff := cmp.Diff(test.env, execution.Env); diff != "" {
			t.Errorf("%s: the environment: -want +got:\n%s", name, diff)
		}
		if execution.GraceMillis == nil || *execution.GraceMillis != test.millis {
			t.Errorf("%s: the grace is %v ms, want %d", name, execution.GraceMillis, test.millis)
		}
	}
}
