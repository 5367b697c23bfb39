package execute_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apis/arl/validation"
	"arl.io/arl/pkg/scheduler"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

// validated has the harness's API refuse a status of a task that the server would refuse, or that a
// typed client cannot read.
func validated(h *schedulertest.Harness) *schedulertest.Harness {
	h.API.SetFault(func(r schedulertest.Request) error {
		task, ok := r.Object.(*v1alpha1.Task)
		if !ok || r.Subresource != "status" {
			return nil
		}
		encoded, err := json.Marshal(task)
		if err == nil {
			err = json.Unmarshal(encoded, &v1alpha1.Task{})
		}
		var internal arl.Task
		if err == nil {
			err = v1alpha1.Convert_v1alpha1_Task_To_arl_Task(task, &internal, nil)
		}
		if err != nil {
			return apierrors.NewBadRequest(err.Error())
		}
		if errs := validation.ValidateTaskStatusUpdate(&internal, internal.DeepCopy()); len(errs) > 0 {
			return apierrors.NewInvalid(arl.Kind("Task"), task.Name, errs)
		}
		return nil
	})
	return h
}

// strange are values of an agent that no step can have.
var strange = []wire.StepResult{
	{State: wire.Succeeded, DurationMicros: math.MaxInt64},
	{State: wire.Succeeded, DurationMicros: math.MinInt64, StdoutBytes: math.MinInt64, StderrBytes: math.MaxInt64},
	{State: wire.Succeeded, StartTime: time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -12*3600))},
	{State: wire.Succeeded, StartTime: time.Date(0, 1, 1, 0, 0, 0, 0, time.FixedZone("", 12*3600))},
	{State: wire.Failed, ExitCode: ptr.To[int32](math.MinInt32), Reason: "Because", Message: strings.Repeat("\x01", 1<<10)},
	{State: wire.Failed, ExitCode: ptr.To[int32](math.MaxInt32), Name: "another", StdoutBytes: math.MaxInt64},
	{State: wire.Skipped, Message: "skipped", ExitCode: ptr.To[int32](-1), DurationMicros: -5, StartTime: time.Unix(-1<<33, 0)},
}

// TestValuesThatCannotBe has agents say strange things of a step, while it runs and at its end. The
// task ends with all its details, each of which is possible.
func TestValuesThatCannotBe(t *testing.T) {
	for i, step := range strange {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			proceed := make(chan struct{})
			h := validated(schedulertest.New(t))
			h.Runtime.Behave = func(ctx context.Context, _ wire.Execution) wire.ExecutionResult {
				schedulertest.Report(ctx, wire.Event{Type: wire.EventStepStarted, Time: step.StartTime})
				schedulertest.Report(ctx, wire.Event{Type: wire.EventStepFinished, StepDone: &step})
				select {
				case <-proceed:
				case <-ctx.Done():
				}
				return wire.ExecutionResult{
					State: wire.Failed, DurationMicros: step.DurationMicros, ExitCode: step.ExitCode, StdoutBytes: step.StdoutBytes,
					StderrBytes: math.MaxInt64, Steps: []wire.StepResult{step},
				}
			}
			begin := time.Now()
			ready(t, h)
			task := threeSteps()
			task.Spec.Steps = task.Spec.Steps[:1]
			h.CreateTask(task)
			h.WaitState("task", v1alpha1.TaskRunning)
			close(proceed)
			s := h.WaitState("task", v1alpha1.TaskFailed).Status
			if len(s.Steps) != 1 || s.Steps[0].Name != "one" || s.Output == nil {
				t.Fatalf("it says %+v", s)
			}
			one := s.Steps[0]
			if start := one.StartTime; start != nil && (start.Before(&metav1.MicroTime{Time: begin}) || start.After(time.Now())) {
				t.Errorf("the step began at %s", start)
			}
			for _, text := range []string{s.Duration, one.Duration} {
				if d, err := time.ParseDuration(text); text != "" && (err != nil || d < 0 || d > time.Since(begin)) {
					t.Errorf("it took %s", text)
				}
			}
			for _, code := range []*int32{s.ExitCode, one.ExitCode} {
				if code != nil && (*code < 0 || *code > 255) {
					t.Errorf("the exit code is %d", *code)
				}
			}
			for _, bytes := range []int64{one.StdoutBytes, one.StderrBytes, s.Output.Stdout.Bytes, s.Output.Stderr.Bytes} {
				if bytes < 0 || bytes > 1<<53 {
					t.Errorf("%d bytes", bytes)
				}
			}
		})
	}
}

// broken are outcomes by which an agent breaks the protocol.
var broken = map[string]func(wire.Execution) wire.ExecutionResult{
	"steps": func(wire.Execution) wire.ExecutionResult {
		return wire.ExecutionResult{State: wire.Failed, Steps: make([]wire.StepResult, 20000)}
	},
	"output": func(wire.Execution) wire.ExecutionResult {
		return wire.ExecutionResult{State: wire.Succeeded, Stdout: make([]byte, 1<<20)}
	},
	"a state": func(wire.Execution) wire.ExecutionResult { return wire.ExecutionResult{State: "Sideways"} },
}

// TestAnAgentThatBreaksTheProtocol fails its sandbox with the reason, once: the task that runs ends
// with it and is not tried again, others end with their sandbox, and the pod is deleted.
func TestAnAgentThatBreaksTheProtocol(t *testing.T) {
	for name, answer := range broken {
		t.Run(name, func(t *testing.T) {
			h := schedulertest.New(t)
			h.Runtime.Behave = func(_ context.Context, execution wire.Execution) wire.ExecutionResult { return answer(execution) }
			h, agent := ready(t, h)
			task := schedulertest.Task("task", "box")
			task.Spec.Retries, task.Spec.RetryPolicy = 3, v1alpha1.RetryAlways
			h.CreateTask(task)
			s := failed(h, "task", v1alpha1.TaskReasonAgentProtocolViolation, v1alpha1.FailureUser)
			if s.Attempts != 1 || !strings.Contains(s.Message, "taken over") || !strings.Contains(s.Message, "box") || len(s.Message) > 1000 {
				t.Errorf("it says %+v", s)
			}
			box := h.WaitPhase("box", v1alpha1.SandboxFailed)
			if box.Status.Reason != v1alpha1.SandboxReasonAgentProtocolViolation || !strings.Contains(box.Status.Message, "create another sandbox") {
				t.Errorf("the sandbox says %+v", box.Status)
			}
			h.Eventually("the pod is deleted", func() error {
				if h.Runtime.Pod(box.Status.PodName) != nil {
					return fmt.Errorf("it is there")
				}
				return nil
			})
			began(h, agent, 1)
			h.CreateTask(schedulertest.Task("next", "box"))
			failed(h, "next", v1alpha1.TaskReasonSandboxFailed, v1alpha1.FailureInfrastructure)
		})
	}
}

// TestAOneShotTaskWhoseAgentBreaksTheProtocol gets no other sandbox, although it has retries.
func TestAOneShotTaskWhoseAgentBreaksTheProtocol(t *testing.T) {
	h := schedulertest.New(t)
	h.Runtime.Behave = func(_ context.Context, execution wire.Execution) wire.ExecutionResult {
		return broken["a state"](execution)
	}
	h.Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	task := oneShot("task")
	task.Spec.Retries, task.Spec.RetryPolicy = 3, v1alpha1.RetryAlways
	h.CreateTask(task)
	if s := failed(h, "task", v1alpha1.TaskReasonAgentProtocolViolation, v1alpha1.FailureUser); s.Attempts != 1 {
		t.Errorf("it says %+v", s)
	}
}

// TestARestartMeetsABrokenAgent stops the server before it has stored that an agent breaks the
// protocol. The next one asks the agent once more, and no other task runs there.
func TestARestartMeetsABrokenAgent(t *testing.T) {
	hold := make(chan struct{})
	h := schedulertest.New(t)
	h.Runtime.Behave = func(ctx context.Context, execution wire.Execution) wire.ExecutionResult {
		select {
		case <-hold:
		case <-ctx.Done():
		}
		return broken["steps"](execution)
	}
	h, agent := ready(t, h)
	h.CreateTask(schedulertest.Task("task", "box"))
	h.WaitState("task", v1alpha1.TaskRunning)
	h.Stop()
	close(hold)
	h.Start()
	failed(h, "task", v1alpha1.TaskReasonAgentProtocolViolation, v1alpha1.FailureUser)
	if box := h.WaitPhase("box", v1alpha1.SandboxFailed); box.Status.Reason != v1alpha1.SandboxReasonAgentProtocolViolation {
		t.Errorf("the sandbox says %+v", box.Status)
	}
	began(h, agent, 1)
}

// TestOutputIsBoundedByWhatWasAsked has an agent keep a little more output than it was asked to,
// which is its line about what is missing.
func TestOutputIsBoundedByWhatWasAsked(t *testing.T) {
	h := schedulertest.New(t)
	h.Runtime.Behave = func(_ context.Context, execution wire.Execution) wire.ExecutionResult {
		return wire.ExecutionResult{
			State: wire.Failed, Message: strings.Repeat("x", 30<<10), StdoutTruncated: true,
			Stdout: []byte("head" + strings.Repeat("x", execution.OutputLimitBytes) + "tail"),
			Steps:  []wire.StepResult{{State: wire.Failed, Message: strings.Repeat("x", 4<<10)}},
		}
	}
	h.Configure(func(c *scheduler.Config) { c.OutputLimit = 2000 })
	ready(t, h)
	h.CreateTask(schedulertest.Task("loud", "box"))
	s := h.WaitState("loud", v1alpha1.TaskFailed).Status
	if len(s.Stdout) != 2008 || !strings.HasSuffix(s.Stdout, "tail") || !s.Output.Stdout.Truncated {
		t.Errorf("%d bytes of output", len(s.Stdout))
	}
	if len(s.Message) > 4<<10 || len(s.Steps[0].Message) > 1<<10 {
		t.Errorf("messages of %d and %d bytes", len(s.Message), len(s.Steps[0].Message))
	}
}
