package integration

import (
	"testing"

	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// TestStepsSaveTheirWorkWhenTheirSandboxEnds has steps that take a while to end, and end their
// sandbox in each way that a user can. What they do and write in their grace is kept.
func TestStepsSaveTheirWorkWhenTheirSandboxEnds(t *testing.T) {
	t.Parallel()
	const save = `trap 'sleep 1; echo saved; exit' TERM; echo begun; sleep 250 & wait`
	for name, test := range map[string]struct {
		lifetime *int32
		reason   string
		end      func(n *tenant) error
	}{
		"delete":   {nil, v1alpha1.TaskReasonSandboxDeleted, func(n *tenant) error { return n.Sandboxes().Delete(n.T.Context(), "x", deleteNow) }},
		"lifetime": {ptr.To[int32](4), v1alpha1.TaskReasonSandboxExpired, func(*tenant) error { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newTenant(t, shared(t))
			n.FillPool(hostPool("pool", 1))
			sandbox := sandboxOf("x", "pool")
			sandbox.Spec.MaxLifetimeSeconds = test.lifetime
			n.CreateSandbox(sandbox)
			n.AwaitSandbox("x", v1alpha1.SandboxReady)
			task := taskIn("x", "saves", shell("step", save))
			task.Spec.TerminationGracePeriodSeconds = ptr.To[int32](30)
			n.CreateTask(task)
			n.AwaitRunning("saves")
			if err := test.end(n); err != nil {
				t.Fatal(err)
			}
			done := n.AwaitEnd("saves")
			n.wantFailed(done, test.reason, v1alpha1.FailureUser)
			if done.Status.Stdout != "begun\nsaved\n" {
				t.Errorf("the task wrote %q: %s", done.Status.Stdout, describe(done))
			}
		})
	}
}

// TestAOneShotTaskOfAShortLifeRunsOnce has the pool's lifetime end a task that may be retried.
func TestAOneShotTaskOfAShortLifeRunsOnce(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	pool := hostPool("pool", 1)
	pool.Spec.MaxLifetimeSeconds = ptr.To[int32](2)
	n.FillPool(pool)
	task := taskIn("", "once", shell("step", "sleep 60"))
	task.Spec.PoolRef, task.Spec.Retries, task.Spec.RetryPolicy = "pool", 3, v1alpha1.RetryAlways
	n.CreateTask(task)
	done := n.AwaitEnd("once")
	n.wantFailed(done, v1alpha1.TaskReasonSandboxExpired, v1alpha1.FailureUser)
	wantWords(t, done.Status.Message, "maxLifetimeSeconds", `pool "pool"`)
	if done.Status.Attempts != 1 {
		t.Errorf("%d attempts were made", done.Status.Attempts)
	}
}

// TestARunningTaskShowsWhichStepRuns looks at a task between its steps, and at what its steps find
// in their environment.
func TestARunningTaskShowsWhichStepRuns(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.readySandboxes("x")
	task := taskIn("x", "steps", shell("one", "echo $ARL_TRACE_ID"), shell("two", "until test -e go; do sleep 0.1; done"), shell("three", "true"))
	task.Spec.TraceID = "run 7/α"
	n.CreateTask(task)
	steps := n.AwaitRunning("steps").Status.Steps
	if len(steps) != 3 || steps[0].State != v1alpha1.StepSucceeded || steps[1].State != v1alpha1.StepRunning || steps[1].StartTime == nil || steps[2].State != v1alpha1.StepPending {
		t.Errorf("the steps are %+v", steps)
	}
	if err := n.cancel("steps"); err != nil {
		t.Fatal(err)
	}
	if done := n.AwaitEnd("steps"); done.Status.Stdout != "run 7/α\n" || done.Status.Steps[2].State != v1alpha1.StepSkipped {
		t.Errorf("it wrote %q: %+v", done.Status.Stdout, done.Status.Steps)
	}
}
