package execute_test

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

// stubborn is a Behaviour that says when it is told to stop, and stops when it is released.
func stubborn(told, release chan struct{}) schedulertest.Behaviour {
	return func(ctx context.Context, execution wire.Execution) wire.ExecutionResult {
		result := schedulertest.Hang(ctx, execution)
		close(told)
		<-release
		return result
	}
}

// TestStepsOfATaskThatIsGoneAfterARestart takes away a task while the server is down, whose steps
// run on. They are stopped before another task is started in the sandbox.
func TestStepsOfATaskThatIsGoneAfterARestart(t *testing.T) {
	tests := map[string]func(h *schedulertest.Harness){
		"deleted": func(h *schedulertest.Harness) { h.API.Remove("tasks", "runs") },
		"ended by hand": func(h *schedulertest.Harness) {
			task, err := tasks(h).Get(context.Background(), "runs", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			task.Status.State = v1alpha1.TaskFailed
			if _, err := tasks(h).UpdateStatus(context.Background(), task, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			h := schedulertest.New(t)
			told, release := make(chan struct{}), make(chan struct{})
			h.Runtime.Behave = stubborn(told, release)
			h, agent := ready(t, h)
			h.CreateTask(schedulertest.Task("runs", "box"))
			h.WaitState("runs", v1alpha1.TaskRunning)
			h.Stop()
			end(h)
			h.CreateTask(schedulertest.Task("next", "box"))
			h.Start()
			<-told
			began(h, agent, 1)
			agent.Behave(schedulertest.Succeed)
			close(release)
			h.WaitState("next", v1alpha1.TaskSucceeded)
			began(h, agent, 2)
		})
	}
}
