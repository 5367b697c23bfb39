package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// documents are the parts of one manifest: a pool, a sandbox and tasks.
var documents = map[string]string{
	"pool": `
apiVersion: arl.io/v1alpha1
kind: WarmPool
metadata: {name: pool}
spec:
  replicas: 1
  template: {spec: {containers: [{name: executor, image: host}]}}
`,
	"sandbox": `
apiVersion: arl.io/v1alpha1
kind: Sandbox
metadata: {name: sandbox}
spec: {poolRef: pool, keepAlive: true}
`,
	"tasks": `
apiVersion: arl.io/v1alpha1
kind: Task
metadata: {name: writes}
spec:
  sandboxRef: sandbox
  steps: [{name: s, type: FilePatch, path: note, content: "written\n"}]
---
apiVersion: arl.io/v1alpha1
kind: Task
metadata: {name: reads}
spec:
  sandboxRef: sandbox
  steps: [{name: s, type: Command, command: [cat, note]}]
---
apiVersion: arl.io/v1alpha1
kind: Task
metadata: {name: one-shot}
spec:
  poolRef: pool
  steps: [{name: s, type: Command, command: [echo, alone]}]
`,
}

func TestManifestConvergesInAnyOrder(t *testing.T) {
	t.Parallel()
	for _, order := range [][]string{
		{"pool", "sandbox", "tasks"}, {"pool", "tasks", "sandbox"}, {"sandbox", "pool", "tasks"},
		{"sandbox", "tasks", "pool"}, {"tasks", "pool", "sandbox"}, {"tasks", "sandbox", "pool"},
	} {
		t.Run(strings.Join(order, " "), func(t *testing.T) {
			t.Parallel()
			k := newKubectl(t)
			var manifest strings.Builder
			for _, part := range order {
				manifest.WriteString("---" + documents[part])
			}
			k.With(manifest.String(), words("apply", "-f", "-"))
			for task, stdout := range map[string]string{"writes": "", "reads": "written\n", "one-shot": "alone\n"} {
				if got := k.AwaitEnd(task); got.Status.State != v1alpha1.TaskSucceeded || got.Status.Stdout != stdout {
					t.Errorf("task %s: %s, wrote %q", task, describe(got), got.Status.Stdout)
				}
			}
		})
	}
}

func TestFiveStepsSucceed(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.FillPool(hostPool("pool", 1))
	sandbox := sandboxOf("x", "pool")
	sandbox.Spec.Env = map[string]string{"GREETING": "hello", "ONLY": "sandbox"}
	n.CreateSandbox(sandbox)
	run := shell("run", `sh greet.sh world`)
	run.WorkDir = "app"
	env := shell("env", `echo "$GREETING $ONLY $PWD"`)
	env.Env, env.WorkDir = map[string]string{"GREETING": "bonjour"}, "/tmp"
	stdin := v1alpha1.TaskStep{Name: "stdin", Type: v1alpha1.StepCommand, Command: []string{"wc", "-l"}, Stdin: "one\ntwo\n"}
	script := write("write", "app/greet.sh", "echo \"$GREETING, $1\"\n")
	script.Mode = ptr.To(int32(0o750))
	diff := patch("patch", "app/greet.sh",
		"--- a/app/greet.sh\n+++ b/app/greet.sh\n@@ -1 +1,2 @@\n echo \"$GREETING, $1\"\n+stat -c %a greet.sh\n")
	done := n.Succeed(taskIn("x", "five", script, diff, run, env, stdin))

	if want := "hello, world\n750\nbonjour sandbox /tmp\n2\n"; done.Status.Stdout != want {
		t.Errorf("stdout is %q, want %q", done.Status.Stdout, want)
	}
	if done.Status.Reason != v1alpha1.TaskReasonCompleted || ptr.Deref(done.Status.ExitCode, -1) != 0 || done.Status.Attempts != 1 {
		t.Errorf("the task is %s", describe(done))
	}
	for i, step := range done.Status.Steps {
		if step.Name != done.Spec.Steps[i].Name || step.State != v1alpha1.StepSucceeded || step.StartTime == nil || step.Duration == "" {
			t.Errorf("step %d is %+v", i, step)
		}
	}
	if done.Status.StartTime == nil || done.Status.CompletionTime.Time.Before(done.Status.StartTime.Time) {
		t.Errorf("started at %v, completed at %v", done.Status.StartTime, done.Status.CompletionTime)
	}
}

func TestFailedStepEndsTheTask(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.readySandboxes("x")
	failed := n.Perform(taskIn("x", "fails", shell("fine", "echo out"), shell("broken", "echo no luck >&2; exit 42"), shell("never", "touch reached")))
	n.wantFailed(failed, v1alpha1.TaskReasonStepFailed, v1alpha1.FailureUser)
	if got := ptr.Deref(failed.Status.ExitCode, -1); got != 42 {
		t.Errorf("exit code is %d, want 42", got)
	}
	if failed.Status.Stdout != "out\n" || failed.Status.Stderr != "no luck\n" {
		t.Errorf("stdout is %q, stderr %q", failed.Status.Stdout, failed.Status.Stderr)
	}
	want := []v1alpha1.StepState{v1alpha1.StepSucceeded, v1alpha1.StepFailed, v1alpha1.StepSkipped}
	if diff := cmp.Diff(want, stepStates(failed)); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if got := n.Output("x", "ls"); strings.Contains(got, "reached") {
		t.Error("the step after the one that failed was run")
	}

	goesOn := shell("broken", "exit 42")
	goesOn.OnFailure = v1alpha1.FailureContinue
	done := n.Succeed(taskIn("x", "continues", goesOn, shell("after", "echo reached")))
	if done.Status.Stdout != "reached\n" {
		t.Errorf("stdout is %q after a failure that may be", done.Status.Stdout)
	}

	killed := n.Perform(taskIn("x", "killed", shell("step", "kill -9 $$")))
	if got := ptr.Deref(killed.Status.ExitCode, -1); got != 128+9 {
		t.Errorf("exit code of a command ended by signal 9 is %d, want 137", got)
	}
	missing := n.Perform(taskIn("x", "missing", v1alpha1.TaskStep{Name: "s", Type: v1alpha1.StepCommand, Command: []string{"no-such-program"}}))
	if missing.Status.State != v1alpha1.TaskFailed || !strings.Contains(missing.Status.Message, "no-such-program") {
		t.Errorf("a program that is not there: %s", describe(missing))
	}
}

func stepStates(task *v1alpha1.Task) (states []v1alpha1.StepState) {
	for _, step := range task.Status.Steps {
		states = append(states, step.State)
	}
	return states
}

func TestTaskOfAMissingSandboxFails(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	failed := n.Perform(taskIn("nobody", "lost", shell("step", "true")))
	if failed.Status.State != v1alpha1.TaskFailed || failed.Status.Reason != v1alpha1.TaskReasonSandboxNotFound {
		t.Errorf("the task is %s", describe(failed))
	}
	wantWords(t, failed.Status.Message, "nobody")
}

func TestStateStaysInItsSandbox(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.readySandboxes("a", "b")
	n.Output("a", "echo secret >note; echo secret >/tmp/note; mkdir -p /root && echo secret >/root/arl-note; echo secret >/dev/shm/note")
	const look = "cat note /tmp/note /root/arl-note /dev/shm/note 2>/dev/null; true"
	if got := n.Output("a", look); strings.Count(got, "secret") != 4 {
		t.Errorf("the next task of the sandbox sees %q", got)
	}
	if got := n.Output("b", look); got != "" {
		t.Errorf("another sandbox sees %q", got)
	}

	// Nor does the next tenant of what the pool gives out, whichever pod it gets.
	if err := n.Sandboxes().Delete(t.Context(), "a", deleteNow); err != nil {
		t.Fatal(err)
	}
	n.CreateSandbox(sandboxOf("c", "pool"))
	n.AwaitSandbox("c", v1alpha1.SandboxReady)
	if got := n.Output("c", look); got != "" {
		t.Errorf("a later sandbox sees %q", got)
	}
}

// TestSandboxesRunAtTheSameTime starts tasks that end only when told to, each in
// a sandbox of its own: all of them must be seen running before any is told.
func TestSandboxesRunAtTheSameTime(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	names := []string{"a", "b", "c", "d"}
	pool := hostPool("pool", int32(len(names)))
	n.CreatePool(pool)
	for _, name := range names {
		sandbox := sandboxOf(name, "pool")
		sandbox.Spec.MaxConcurrentTasks = ptr.To(int32(2))
		n.CreateSandbox(sandbox)
		n.CreateTask(taskIn(name, "waits-"+name, shell("step", "until [ -e go ]; do sleep 0.05; done; echo went")))
	}
	eventually(t, "four tasks running", func(ctx context.Context) error {
		tasks, err := n.Tasks().List(ctx, everything)
		if err != nil {
			return err
		}
		var errs []error
		for _, task := range tasks.Items {
			if task.Status.State != v1alpha1.TaskRunning {
				errs = append(errs, fmt.Errorf("%s is %s", task.Name, describe(&task)))
			}
		}
		return errors.Join(errs...)
	})
	var group errgroup.Group
	for _, name := range names {
		group.Go(func() error {
			_, err := n.Tasks().Create(t.Context(), taskIn(name, "tells-"+name, shell("step", "touch go")), createNow)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if got := n.AwaitEnd("waits-" + name); got.Status.Stdout != "went\n" {
			t.Errorf("task waits-%s: %s", name, describe(got))
		}
	}
}
