package execute_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	client "arl.io/arl/pkg/generated/clientset/versioned/typed/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

func tasks(h *schedulertest.Harness) client.TaskInterface {
	return h.API.ArlV1alpha1().Tasks(schedulertest.Namespace)
}

// cancel sets spec.cancel.
func cancel(t *testing.T, h *schedulertest.Harness, name string) {
	t.Helper()
	h.Eventually(name+" is cancelled", func() error {
		task, err := tasks(h).Get(context.Background(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		task.Spec.Cancel = true
		_, err = tasks(h).Update(context.Background(), task, metav1.UpdateOptions{})
		return err
	})
}

func began(h *schedulertest.Harness, agent *schedulertest.Agent, want int) {
	h.TB.Helper()
	h.Eventually("executions were begun", func() error {
		if got := len(agent.Began()); got != want {
			return fmt.Errorf("%d were, want %d", got, want)
		}
		return nil
	})
}

func TestATaskSucceedsWithOneWrite(t *testing.T) {
	h, agent := ready(t, schedulertest.New(t))
	h.CreateTask(schedulertest.Task("echo", "box", "hello"))
	done := h.WaitState("echo", v1alpha1.TaskSucceeded)
	s := done.Status
	if s.Stdout != "hello" || s.ExitCode == nil || *s.ExitCode != 0 || s.Attempts != 1 || s.SandboxName != "box" {
		t.Errorf("the status is %+v", s)
	}
	if s.Duration != "1µs" || s.StartTime == nil || s.CompletionTime == nil || len(s.Steps) != 1 || s.Steps[0].State != v1alpha1.StepSucceeded {
		t.Errorf("the status lacks something: %+v", s)
	}
	if n := h.API.Writes("update tasks/status"); n != 1 {
		t.Errorf("%d writes of the status, want 1", n)
	}
	h.Eventually("the agent was told to forget", func() error {
		if len(agent.Dropped()) != 1 {
			return fmt.Errorf("it has dropped %v", agent.Dropped())
		}
		return nil
	})
}

// TestTheAgentIsAskedForWhatTheTaskSays compares the request with the spec.
func TestTheAgentIsAskedForWhatTheTaskSays(t *testing.T) {
	h := schedulertest.New(t)
	requests := make(chan wire.Execution, 1)
	h.Runtime.Behave = func(ctx context.Context, execution wire.Execution) wire.ExecutionResult {
		requests <- execution
		return schedulertest.Succeed(ctx, execution)
	}
	h.Configure(func(c *scheduler.Config) { c.OutputLimit = 1000 }).Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	h.WaitIdle("pool", 1)
	box := schedulertest.Sandbox("box", "pool")
	box.Spec.Env = map[string]string{"A": "1"}
	h.CreateSandbox(box)
	task := schedulertest.Task("task", "box")
	task.Spec.Timeout = "90s"
	task.Spec.Steps = []v1alpha1.TaskStep{
		{Name: "one", Type: v1alpha1.StepCommand, Command: []string{"a", "b"}, Env: map[string]string{"B": "2"}, WorkDir: "w", Stdin: "in", Timeout: "1s", OnFailure: v1alpha1.FailureContinue},
		{Name: "two", Type: v1alpha1.StepFilePatch, Path: "p", Content: ptr.To("c"), Mode: ptr.To[int32](420)},
		{Name: "three", Type: v1alpha1.StepFilePatch, Path: "p", Patch: ptr.To("d"), Timeout: "100us"},
	}
	created := h.CreateTask(task)
	h.WaitState("task", v1alpha1.TaskSucceeded)
	want := wire.Execution{
		ID: string(created.UID) + "-1",
		Steps: []wire.Step{
			{Name: "one", Type: wire.StepCommand, Command: []string{"a", "b"}, Env: map[string]string{"B": "2"}, WorkDir: "w", Stdin: "in", TimeoutMillis: 1000, ContinueOnFailure: true},
			{Name: "two", Type: wire.StepFilePatch, Path: "p", Content: ptr.To("c"), Mode: ptr.To[int32](420)},
			{Name: "three", Type: wire.StepFilePatch, Path: "p", Patch: ptr.To("d"), TimeoutMillis: 1},
		},
		TimeoutMillis:    90_000,
		Env:              map[string]string{"A": "1"},
		WorkDir:          "/workspace",
		OutputLimitBytes: 1000,
		GraceMillis:      ptr.To[int64](2000),
	}
	if diff := cmp.Diff(want, <-requests); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestTasksRunInOrder creates many tasks at once: they start one after another,
// in the order in which they were created.
func TestTasksRunInOrder(t *testing.T) {
	h := schedulertest.New(t)
	var mu sync.Mutex
	var order []string
	running, most := 0, 0
	h.Runtime.Behave = func(ctx context.Context, execution wire.Execution) wire.ExecutionResult {
		mu.Lock()
		order = append(order, execution.Steps[0].Command[0])
		running++
		most = max(most, running)
		mu.Unlock()
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			running--
		}()
		return schedulertest.Succeed(ctx, execution)
	}
	ready(t, h)
	var want []string
	for i := range 100 {
		want = append(want, fmt.Sprintf("task-%d", i))
		h.CreateTask(schedulertest.Task(want[i], "box"))
	}
	for _, name := range want {
		if got := h.WaitState(name, v1alpha1.TaskSucceeded); got.Status.Stdout != name {
			t.Errorf("%s wrote %q", name, got.Status.Stdout)
		}
	}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if most != 1 {
		t.Errorf("%d ran at the same time", most)
	}
}

func TestASlowTaskDelaysNoOtherSandbox(t *testing.T) {
	h := schedulertest.New(t)
	h.Runtime.Behave = func(ctx context.Context, execution wire.Execution) wire.ExecutionResult {
		if execution.Steps[0].Command[0] == "slow" {
			return schedulertest.Hang(ctx, execution)
		}
		return schedulertest.Succeed(ctx, execution)
	}
	h.Configure(func(c *scheduler.Config) { c.MaxExecutions = 3 }).Start()
	h.CreatePool(schedulertest.Pool("pool", 4))
	h.WaitIdle("pool", 4)
	for i := range 4 {
		h.CreateSandbox(schedulertest.Sandbox(fmt.Sprintf("box-%d", i), "pool"))
	}
	h.CreateTask(schedulertest.Task("slow", "box-0"))
	h.WaitState("slow", v1alpha1.TaskRunning)
	for n := range 20 {
		for i := range 3 {
			h.CreateTask(schedulertest.Task(fmt.Sprintf("t-%d-%d", i, n), fmt.Sprintf("box-%d", i+1)))
		}
	}
	for n := range 20 {
		for i := range 3 {
			h.WaitState(fmt.Sprintf("t-%d-%d", i, n), v1alpha1.TaskSucceeded)
		}
	}
	h.WaitState("slow", v1alpha1.TaskRunning)
	cancel(t, h, "slow")
	h.WaitState("slow", v1alpha1.TaskFailed)
}

func TestTasksRunAtTheSameTimeIfTheyMay(t *testing.T) {
	h := schedulertest.New(t)
	h.Runtime.Behave = schedulertest.Hang
	h.Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	h.WaitIdle("pool", 1)
	box := schedulertest.Sandbox("box", "pool")
	box.Spec.MaxConcurrentTasks = ptr.To[int32](2)
	agent := h.Runtime.Pod(h.CreateSandbox(box).Status.PodName).Agent
	for i := range 4 {
		h.CreateTask(schedulertest.Task(fmt.Sprintf("t%d", i), "box"))
	}
	h.WaitState("t0", v1alpha1.TaskRunning)
	h.WaitState("t1", v1alpha1.TaskRunning)
	queued := h.WaitTask("t2", func(t *v1alpha1.Task) bool { return t.Status.Reason == v1alpha1.TaskReasonQueued })
	if queued.Status.State != v1alpha1.TaskPending || !strings.Contains(queued.Status.Message, `"box"`) {
		t.Errorf("it says %+v", queued.Status)
	}
	began(h, agent, 2)
	// A raised limit holds at once.
	latest := h.WaitPhase("box", v1alpha1.SandboxReady)
	latest.Spec.MaxConcurrentTasks = ptr.To[int32](3)
	h.Eventually("the limit is raised", func() error {
		latest = h.WaitPhase("box", v1alpha1.SandboxReady)
		latest.Spec.MaxConcurrentTasks = ptr.To[int32](3)
		_, err := h.API.ArlV1alpha1().Sandboxes(schedulertest.Namespace).Update(context.Background(), latest, metav1.UpdateOptions{})
		return err
	})
	began(h, agent, 3)
}

func TestOutcomesOfTheAgent(t *testing.T) {
	code := func(n int32) *int32 { return &n }
	tests := map[string]struct {
		result wire.ExecutionResult
		want   v1alpha1.TaskStatus
	}{
		"a step fails": {
			wire.ExecutionResult{State: wire.Failed, Reason: wire.ReasonStepFailed, Message: "step two exited with 42", ExitCode: code(42), Stdout: []byte("out"), Stderr: []byte("err"), DurationMicros: 15, Steps: []wire.StepResult{
				{Name: "one", State: wire.Succeeded, ExitCode: code(0), StdoutBytes: 3},
				{Name: "two", State: wire.Failed, Reason: wire.ReasonStepFailed, Message: "exit", ExitCode: code(42), StderrBytes: 3},
				{Name: "three", State: wire.Skipped},
			}},
			v1alpha1.TaskStatus{State: v1alpha1.TaskFailed, Reason: v1alpha1.TaskReasonStepFailed, Message: "step two exited with 42", FailureClass: v1alpha1.FailureUser, ExitCode: code(42), Stdout: "out", Stderr: "err", Output: output(3, 3), Duration: "15µs", Steps: []v1alpha1.TaskStepStatus{
				{Name: "one", State: v1alpha1.StepSucceeded, ExitCode: code(0), StdoutBytes: 3, Duration: "0s"},
				{Name: "two", State: v1alpha1.StepFailed, Reason: "StepFailed", Message: "exit", ExitCode: code(42), StderrBytes: 3, Duration: "0s"},
				{Name: "three", State: v1alpha1.StepSkipped},
			}},
		},
		"a timeout": {
			wire.ExecutionResult{State: wire.Failed, Reason: wire.ReasonTimeout},
			v1alpha1.TaskStatus{State: v1alpha1.TaskFailed, Reason: v1alpha1.TaskReasonTimeout, FailureClass: v1alpha1.FailureUser, Duration: "0s", Output: output(0, 0), Steps: []v1alpha1.TaskStepStatus{
				{Name: "one", State: v1alpha1.StepSkipped}, {Name: "two", State: v1alpha1.StepSkipped}, {Name: "three", State: v1alpha1.StepSkipped},
			}},
		},
		"nonsense": {
			wire.ExecutionResult{State: wire.Failed, Reason: "Because\x00", DurationMicros: -7, Stdout: []byte{0xff, 'a'}, Steps: []wire.StepResult{
				{Name: "other", State: wire.Failed, StdoutBytes: -1}, {State: wire.Failed}, {State: wire.Failed},
			}},
			v1alpha1.TaskStatus{State: v1alpha1.TaskFailed, Reason: v1alpha1.TaskReasonStepFailed, FailureClass: v1alpha1.FailureUser, Duration: "0s", Stdout: "\uFFFDa",
				Output: &v1alpha1.TaskOutput{Stdout: v1alpha1.TaskStream{Bytes: 2, Data: []byte{0xff, 'a'}}}, Steps: []v1alpha1.TaskStepStatus{
					{Name: "one", State: v1alpha1.StepFailed, Reason: "StepFailed", Duration: "0s"},
					{Name: "two", State: v1alpha1.StepFailed, Reason: "StepFailed", Duration: "0s"},
					{Name: "three", State: v1alpha1.StepFailed, Reason: "StepFailed", Duration: "0s"},
				}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := schedulertest.New(t)
			h.Runtime.Behave = func(context.Context, wire.Execution) wire.ExecutionResult { return test.result }
			ready(t, h)
			task := schedulertest.Task("task", "box")
			task.Spec.Steps = []v1alpha1.TaskStep{{Name: "one"}, {Name: "two"}, {Name: "three"}}
			h.CreateTask(task)
			got := h.WaitState("task", test.want.State).Status
			got.SandboxName, got.PodName, got.Attempts, got.ObservedGeneration = "", "", 0, 0
			got.StartTime, got.CompletionTime, got.Conditions = nil, nil, nil
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// output describes output that was kept as a whole.
func output(stdout, stderr int64) *v1alpha1.TaskOutput {
	return &v1alpha1.TaskOutput{Stdout: v1alpha1.TaskStream{Bytes: stdout}, Stderr: v1alpha1.TaskStream{Bytes: stderr}}
}

func TestExpiry(t *testing.T) {
	h := schedulertest.NewFrozen(t)
	h.Configure(func(c *scheduler.Config) { c.TaskRetention = 10 * time.Minute }).Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool {
		h.Clock.Step(10 * time.Millisecond)
		return p.Status.ReadyReplicas == 1
	})
	h.CreateSandbox(schedulertest.Sandbox("box", "pool"))
	for name, ttl := range map[string]*int32{"retention": nil, "minute": ptr.To[int32](60), "at-once": ptr.To[int32](0)} {
		task := schedulertest.Task(name, "box")
		task.Spec.TTLSecondsAfterFinished = ttl
		h.CreateTask(task)
	}
	schedulertest.Gone(h, "at-once", tasks(h).Get)
	h.WaitState("minute", v1alpha1.TaskSucceeded)
	h.WaitState("retention", v1alpha1.TaskSucceeded)
	h.Pass(59 * time.Second)
	h.Restart()
	h.WaitState("minute", v1alpha1.TaskSucceeded)
	h.Pass(2 * time.Second)
	schedulertest.Gone(h, "minute", tasks(h).Get)
	h.WaitState("retention", v1alpha1.TaskSucceeded)
	h.Pass(10 * time.Minute)
	schedulertest.Gone(h, "retention", tasks(h).Get)
}

// TestManyClients has ten sandboxes run a thousand tasks in all: each carries its own output.
func TestManyClients(t *testing.T) {
	h := schedulertest.New(t).Start()
	h.CreatePool(schedulertest.Pool("pool", 10))
	h.WaitIdle("pool", 10)
	begin := time.Now()
	var clients sync.WaitGroup
	for c := range 10 {
		clients.Go(func() {
			box := fmt.Sprintf("box-%d", c)
			h.CreateSandbox(schedulertest.Sandbox(box, "pool"))
			for i := range 100 {
				name := fmt.Sprintf("t-%d-%d", c, i)
				h.CreateTask(schedulertest.Task(name, box))
			}
		})
	}
	clients.Wait()
	for c := range 10 {
		for i := range 100 {
			name := fmt.Sprintf("t-%d-%d", c, i)
			if got := h.WaitState(name, v1alpha1.TaskSucceeded); got.Status.Stdout != name {
				t.Errorf("%s wrote %q", name, got.Status.Stdout)
			}
		}
	}
	t.Logf("1000 tasks in %s", time.Since(begin))
	list, err := tasks(h).List(context.Background(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1000 || slices.ContainsFunc(list.Items, func(t v1alpha1.Task) bool { return t.Status.Attempts != 1 }) {
		t.Errorf("%d tasks, %v", len(list.Items), err)
	}
}
