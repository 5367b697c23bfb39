package execute_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/oneshot"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

// oneShot returns a task that asks for a sandbox of its own.
func oneShot(name string) *v1alpha1.Task {
	task := schedulertest.Task(name, "")
	task.Spec.PoolRef = "pool"
	return task
}

// pooled returns a running harness with a pool of one pod.
func pooled(h *schedulertest.Harness) *schedulertest.Harness {
	h.TB.Helper()
	h.Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	h.WaitIdle("pool", 1)
	return h
}

// noSandboxes waits until all sandboxes are gone, and all pods but those of the pool.
func noSandboxes(h *schedulertest.Harness) {
	h.TB.Helper()
	h.Eventually("all sandboxes are gone", func() error {
		list, err := h.API.ArlV1alpha1().Sandboxes(schedulertest.Namespace).List(context.Background(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		if n, pods := len(list.Items), len(h.Runtime.Pods()); n != 0 || pods > 1 {
			return fmt.Errorf("there are %d, and %d pods", n, pods)
		}
		return nil
	})
}

func TestAOneShotTask(t *testing.T) {
	h := pooled(schedulertest.New(t))
	name := strings.Repeat("a-rather-long-name-", 3) + "end"
	created := h.CreateTask(oneShot(name))
	s := h.WaitState(name, v1alpha1.TaskSucceeded).Status
	if s.Stdout != name || s.SandboxName == "" || len(s.SandboxName) > 63 {
		t.Errorf("it says %+v", s)
	}
	box := h.API.History("sandboxes", s.SandboxName)[0].(*v1alpha1.Sandbox)
	if owner := metav1.GetControllerOf(box); owner == nil || owner.UID != created.UID || box.Labels[oneshot.LabelTask] == "" || !box.Spec.KeepAlive {
		t.Errorf("the sandbox was %+v", box)
	}
	noSandboxes(h)
}

func TestManyOneShotTasksShareAPool(t *testing.T) {
	h := pooled(schedulertest.New(t))
	for i := range 20 {
		h.CreateTask(oneShot(fmt.Sprintf("t%d", i)))
	}
	for i := range 20 {
		h.WaitState(fmt.Sprintf("t%d", i), v1alpha1.TaskSucceeded)
	}
	noSandboxes(h)
}

func TestAOneShotSandboxGoesWithItsTask(t *testing.T) {
	tests := map[string]func(h *schedulertest.Harness){
		"deleted": func(h *schedulertest.Harness) {
			_ = tasks(h).Delete(context.Background(), "task", metav1.DeleteOptions{})
		},
		"deleted while the server is down": func(h *schedulertest.Harness) {
			h.Stop()
			h.API.Remove("tasks", "task")
			h.Start()
		},
		"cancelled": func(h *schedulertest.Harness) {
			cancelIt(h, nil, nil)
			h.WaitState("task", v1alpha1.TaskFailed)
		},
		"ended while the server is down": func(h *schedulertest.Harness) {
			h.Stop()
			task, _ := tasks(h).Get(context.Background(), "task", metav1.GetOptions{})
			task.Status.State = v1alpha1.TaskFailed
			_, _ = tasks(h).UpdateStatus(context.Background(), task, metav1.UpdateOptions{})
			h.Start()
		},
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			h := schedulertest.New(t)
			h.Runtime.Behave = schedulertest.Hang
			pooled(h)
			h.CreateTask(oneShot("task"))
			h.WaitState("task", v1alpha1.TaskRunning)
			end(h)
			noSandboxes(h)
		})
	}
}

// TestAOneShotTaskGetsAnotherSandbox loses the first one: a retry is made in a new one.
func TestAOneShotTaskGetsAnotherSandbox(t *testing.T) {
	h := schedulertest.New(t)
	h.Runtime.Behave = schedulertest.Hang
	pooled(h)
	task := oneShot("task")
	task.Spec.Retries = 1
	h.CreateTask(task)
	first := h.WaitState("task", v1alpha1.TaskRunning).Status
	h.Runtime.Fail(first.PodName, podruntime.ReasonEvicted, "too greedy")
	second := h.WaitTask("task", func(t *v1alpha1.Task) bool {
		return t.Status.State == v1alpha1.TaskRunning && t.Status.Attempts == 2
	}).Status
	if second.PodName == first.PodName || second.SandboxName == first.SandboxName {
		t.Errorf("it was tried again in the same place: %+v", second)
	}
	h.Runtime.Fail(second.PodName, podruntime.ReasonEvicted, "too greedy")
	failed(h, "task", v1alpha1.TaskReasonAgentLost, v1alpha1.FailureInfrastructure)
	noSandboxes(h)
}

// TestATaskThatTakesTooMuchDiskSpace: above the limit of its pod, the failure is the user's, and another
// attempt would fail as well. If the disk was short, it may succeed elsewhere.
func TestATaskThatTakesTooMuchDiskSpace(t *testing.T) {
	for name, test := range map[string]struct {
		reason   string
		attempts int32
		class    v1alpha1.FailureClass
	}{
		"its limit": {podruntime.ReasonDiskLimit, 1, v1alpha1.FailureUser},
		"the disk":  {podruntime.ReasonDiskPressure, 2, v1alpha1.FailureInfrastructure},
	} {
		t.Run(name, func(t *testing.T) {
			h := schedulertest.New(t)
			h.Runtime.Behave = schedulertest.Hang
			pooled(h)
			task := oneShot("task")
			task.Spec.Retries = 1
			h.CreateTask(task)
			for attempt := range test.attempts {
				running := h.WaitTask("task", func(t *v1alpha1.Task) bool {
					return t.Status.State == v1alpha1.TaskRunning && t.Status.Attempts == attempt+1
				})
				h.Runtime.Fail(running.Status.PodName, test.reason, "too large")
			}
			failed(h, "task", v1alpha1.TaskReasonSandboxFailed, test.class)
		})
	}
}

func TestAOneShotTaskSurvivesARestart(t *testing.T) {
	h, g := schedulertest.New(t), newGate()
	h.Runtime.Behave = g.behave
	pooled(h)
	h.CreateTask(oneShot("task"))
	before := h.WaitState("task", v1alpha1.TaskRunning).Status
	h.Restart()
	g.lift()
	after := h.WaitState("task", v1alpha1.TaskSucceeded).Status
	if after.SandboxName != before.SandboxName || after.Attempts != 1 {
		t.Errorf("it was %+v and is %+v", before, after)
	}
	noSandboxes(h)
}

func TestAOneShotTaskWaitsForItsPool(t *testing.T) {
	h := schedulertest.New(t).Start()
	h.CreateTask(oneShot("task"))
	h.WaitTask("task", func(t *v1alpha1.Task) bool { return t.Status.Reason == v1alpha1.TaskReasonWaitingForSandbox })
	h.Restart()
	h.CreatePool(schedulertest.Pool("pool", 1))
	h.WaitState("task", v1alpha1.TaskSucceeded)
}

func TestAOneShotTaskWithoutAPod(t *testing.T) {
	h := schedulertest.New(t).Start()
	// No pod gets ready: a cold pool would start one for the task.
	h.Runtime.Manual(true)
	pool := schedulertest.Pool("pool", 0)
	pool.Spec.AllocationTimeoutSeconds = ptr.To[int32](0)
	h.CreatePool(pool)
	h.WaitIdle("pool", 0)
	h.CreateTask(oneShot("task"))
	failed(h, "task", v1alpha1.TaskReasonAllocationTimeout, v1alpha1.FailureInfrastructure)
	noSandboxes(h)
}

func TestASandboxThatCannotBeMade(t *testing.T) {
	tests := map[string]struct {
		fault func(n int) error
		ends  bool
	}{
		"a hiccup": {func(n int) error { return onlyFirst(n, apierrors.NewInternalError(errors.New("busy"))) }, false},
		"forbidden": {func(int) error {
			return apierrors.NewForbidden(v1alpha1.SchemeGroupVersion.WithResource("sandboxes").GroupResource(), "x", errors.New("quota"))
		}, true},
		"stored, but the answer was lost": {func(n int) error {
			return onlyFirst(n, apierrors.NewAlreadyExists(v1alpha1.SchemeGroupVersion.WithResource("sandboxes").GroupResource(), "x"))
		}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := pooled(schedulertest.New(t))
			n := 0
			h.API.SetFault(func(r schedulertest.Request) error {
				if r.Verb == "create" && r.Resource == "sandboxes" {
					n++
					return test.fault(n)
				}
				return nil
			})
			h.CreateTask(oneShot("task"))
			if test.ends {
				failed(h, "task", v1alpha1.TaskReasonSandboxFailed, v1alpha1.FailureUser)
			} else {
				h.WaitState("task", v1alpha1.TaskSucceeded)
			}
			noSandboxes(h)
		})
	}
}

func onlyFirst(n int, err error) error {
	if n == 1 {
		return err
	}
	return nil
}

// TestSomebodyElsesSandboxHasTheName puts another sandbox in the place of the task's own.
func TestSomebodyElsesSandboxHasTheName(t *testing.T) {
	h := schedulertest.New(t).Start()
	created := h.CreateTask(oneShot("task"))
	squatted := ""
	h.Eventually("its sandbox is made", func() error {
		list, err := h.API.ArlV1alpha1().Sandboxes(schedulertest.Namespace).List(context.Background(), metav1.ListOptions{})
		if err != nil || len(list.Items) == 0 {
			return fmt.Errorf("there is none: %v", err)
		}
		squatted = list.Items[0].Name
		return nil
	})
	h.Stop()
	h.API.Remove("sandboxes", squatted)
	h.CreateSandbox(schedulertest.Sandbox(squatted, "pool"))
	h.Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	got := h.WaitTask("task", func(t *v1alpha1.Task) bool { return t.Status.CompletionTime != nil })
	if got.UID != created.UID || got.Status.State != v1alpha1.TaskFailed {
		t.Errorf("it ran in somebody else's sandbox: %+v", got.Status)
	}
}
