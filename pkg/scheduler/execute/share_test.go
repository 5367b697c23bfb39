package execute_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

// TestANamespaceWhoseTasksHangLeavesRoomForOthers has one namespace start tasks that never end, in
// more than all the executions that the server has. Its next task says what it waits for, and a task
// of another namespace runs.
func TestANamespaceWhoseTasksHangLeavesRoomForOthers(t *testing.T) {
	h := schedulertest.New(t)
	h.Runtime.Behave = func(ctx context.Context, execution wire.Execution) wire.ExecutionResult {
		if execution.Steps[0].Command[0] == "hang" {
			return schedulertest.Hang(ctx, execution)
		}
		return schedulertest.Succeed(ctx, execution)
	}
	h.Configure(func(c *scheduler.Config) { c.MaxExecutions = 8 }).Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	h.WaitIdle("pool", 1)
	box := schedulertest.Sandbox("box", "pool")
	box.Spec.MaxConcurrentTasks = ptr.To[int32](64)
	h.CreateSandbox(box)
	for i := range 10 {
		h.CreateTask(schedulertest.Task(fmt.Sprintf("t%d", i), "box", "hang"))
	}
	waits := h.WaitTask("t7", func(task *v1alpha1.Task) bool { return task.Status.Reason == v1alpha1.TaskReasonQueued })
	if !strings.Contains(waits.Status.Message, `namespace "default" runs 7 tasks`) || !strings.Contains(waits.Status.Message, "--max-executions") {
		t.Errorf("it says %q", waits.Status.Message)
	}
	last := h.WaitTask("t9", func(task *v1alpha1.Task) bool { return task.Status.Reason == v1alpha1.TaskReasonQueued })
	if !strings.Contains(last.Status.Message, "earlier tasks") {
		t.Errorf("it says %q", last.Status.Message)
	}

	const other = "other"
	api, ctx := h.API.ArlV1alpha1(), context.Background()
	pool, task := schedulertest.Pool("pool", 1), oneShot("task")
	pool.Namespace, task.Namespace = other, other
	if _, err := api.WarmPools(other).Create(ctx, pool, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Tasks(other).Create(ctx, task, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	h.Eventually("the other namespace's task succeeds", func() error {
		got, err := api.Tasks(other).Get(ctx, "task", metav1.GetOptions{})
		if err == nil && got.Status.State != v1alpha1.TaskSucceeded {
			err = fmt.Errorf("it is %s: %s", got.Status.State, got.Status.Message)
		}
		return err
	})
	cancel(t, h, "t0")
	h.WaitState("t7", v1alpha1.TaskRunning)
}
