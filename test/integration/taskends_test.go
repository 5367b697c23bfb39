package integration

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

func TestFinishedTaskGoesAfterItsTTL(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.readySandboxes("x")
	n.Succeed(taskIn("x", "kept", shell("step", "true")))
	for name, ttl := range map[string]int32{"at-once": 0, "soon": 1} {
		task := taskIn("x", name, shell("step", "echo "+name))
		task.Spec.TTLSecondsAfterFinished = ptr.To(ttl)
		last, deletedAt := n.watchToDeletion(task)
		if last.Status.State != v1alpha1.TaskSucceeded || last.Status.Stdout != name+"\n" {
			t.Errorf("before it was deleted, task %s was %s", name, describe(last))
			continue
		}
		if age := deletedAt.Sub(last.Status.CompletionTime.Time); age < time.Duration(ttl)*time.Second {
			t.Errorf("task %s was deleted %s after its end, want not before %ds", name, age, ttl)
		}
	}
	if _, err := n.Tasks().Get(t.Context(), "kept", getNow); err != nil {
		t.Errorf("a task without a TTL: %v", err)
	}
}

// watchToDeletion creates a task and returns its last state, and when its
// deletion was seen.
func (n *tenant) watchToDeletion(task *v1alpha1.Task) (last *v1alpha1.Task, deletedAt time.Time) {
	n.T.Helper()
	created := n.CreateTask(task)
	watcher, err := n.Tasks().Watch(n.T.Context(), metav1.ListOptions{
		ResourceVersion: created.ResourceVersion, FieldSelector: "metadata.name=" + task.Name,
	})
	if err != nil {
		n.T.Fatal(err)
	}
	defer watcher.Stop()
	last = created
	deadline := time.After(patience)
	for {
		select {
		case event := <-watcher.ResultChan():
			switch event.Type {
			case watch.Modified:
				last = event.Object.(*v1alpha1.Task)
			case watch.Deleted:
				return last, time.Now()
			default:
				n.T.Fatalf("watch of task %s: %+v", task.Name, event)
			}
		case <-deadline:
			n.T.Fatalf("task %s was not deleted: %s", task.Name, describe(last))
		}
	}
}

func TestCancelledTaskEnds(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.readySandboxes("x")
	running := taskIn("x", "running", shell("step", "echo before; sleep 250"), shell("never", "true"))
	running.Spec.Retries, running.Spec.RetryPolicy = 3, v1alpha1.RetryAlways
	n.CreateTask(running)
	n.CreateTask(taskIn("x", "pending", shell("step", "touch pending-ran")))
	n.CreateTask(taskIn("x", "after", shell("step", "ls")))
	n.AwaitRunning("running")

	for _, name := range []string{"pending", "running"} {
		if err := n.cancel(name); err != nil {
			t.Fatal(err)
		}
		n.wantFailed(n.AwaitEnd(name), v1alpha1.TaskReasonCancelled, v1alpha1.FailureUser)
	}
	ran := n.AwaitEnd("running")
	if ran.Status.Attempts != 1 || ran.Status.Stdout != "before\n" || ran.Status.Steps[1].State != v1alpha1.StepSkipped {
		t.Errorf("the task that ran is %s, and wrote %q", describe(ran), ran.Status.Stdout)
	}
	if skipped := n.AwaitEnd("pending"); skipped.Status.Attempts != 0 || skipped.Status.StartTime != nil {
		t.Errorf("the task that had not been started is %s", describe(skipped))
	}
	if after := n.AwaitEnd("after"); after.Status.State != v1alpha1.TaskSucceeded || after.Status.Stdout != "" {
		t.Errorf("the task behind them is %s, and sees the files %q", describe(after), after.Status.Stdout)
	}

	// What has ended stays as it is.
	if err := n.cancel("after"); err != nil {
		t.Fatal(err)
	}
	n.Output("x", "true")
	if after := n.AwaitEnd("after"); after.Status.State != v1alpha1.TaskSucceeded {
		t.Errorf("a task that was cancelled after its end is %s", describe(after))
	}
}

// TestCancelWithoutASandbox ends a task that waits for a pod of its own.
func TestCancelWithoutASandbox(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.CreatePool(barrenPool("pool"))
	task := taskIn("", "one-shot", shell("step", "true"))
	task.Spec.PoolRef = "pool"
	n.CreateTask(task)
	if err := n.cancel("one-shot"); err != nil {
		t.Fatal(err)
	}
	n.wantFailed(n.AwaitEnd("one-shot"), v1alpha1.TaskReasonCancelled, v1alpha1.FailureUser)
	n.awaitNoSandboxes()
}

func TestFailedStepIsRetriedWhenAsked(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.readySandboxes("x")
	for _, test := range []struct {
		name    string
		policy  v1alpha1.RetryPolicy
		retries int32
		// needs is the first run that succeeds.
		needs    int32
		attempts int32
		state    v1alpha1.TaskState
	}{
		{"fails-once", v1alpha1.RetryAlways, 2, 2, 2, v1alpha1.TaskSucceeded},
		{"fails-again", v1alpha1.RetryAlways, 1, 3, 2, v1alpha1.TaskFailed},
		{"not-asked", v1alpha1.RetryInfrastructure, 2, 2, 1, v1alpha1.TaskFailed},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := tenantIn(t, n.server, n.Namespace)
			// The first step runs again, too.
			second := fmt.Sprintf(`[ "$(wc -l <%s)" -ge %d ] || exit 3; echo well`, test.name, test.needs)
			task := taskIn("x", test.name, shell("first", "echo ran >>"+test.name), shell("second", second))
			task.Spec.Retries, task.Spec.RetryPolicy = test.retries, test.policy
			done := n.Perform(task)
			if done.Status.State != test.state || done.Status.Attempts != test.attempts {
				t.Errorf("the task is %s, want %s after %d attempts", describe(done), test.state, test.attempts)
			}
			if test.state == v1alpha1.TaskFailed {
				n.wantFailed(done, v1alpha1.TaskReasonStepFailed, v1alpha1.FailureUser)
			} else if done.Status.Stdout != "well\n" || ptr.Deref(done.Status.ExitCode, -1) != 0 || done.Status.FailureClass != "" {
				t.Errorf("of the last attempt is told %q: %s", done.Status.Stdout, describe(done))
			}
			if got := n.Output("x", "wc -l <"+test.name); got != fmt.Sprintln(test.attempts) {
				t.Errorf("the first step ran %q times, want %d", got, test.attempts)
			}
		})
	}
}
