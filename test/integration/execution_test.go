package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// oneLine fails the test unless a file of a sandbox has just one line: each
// run of the step that appends to it leaves one.
func (n *tenant) oneLine(sandbox, file string) {
	n.T.Helper()
	if got := n.Output(sandbox, "wc -l <"+file); strings.TrimSpace(got) != "1" {
		n.T.Errorf("the step that appends to %s in sandbox %s has run %s times, want once", file, sandbox, strings.TrimSpace(got))
	}
}

// TestLongStepRunsOnce needs a time of its own: a step must be able to outlast
// half a minute, where connections like to be cut.
func TestLongStepRunsOnce(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.readySandboxes("x")
	task := taskIn("x", "long", shell("step", "echo ran >>runs; sleep 33; echo done"))
	task.Spec.Timeout = "60s"
	if done := n.Succeed(task); done.Status.Stdout != "done\n" || done.Status.Attempts != 1 {
		t.Errorf("the task is %s, and wrote %q", describe(done), done.Status.Stdout)
	}
	n.oneLine("x", "runs")
}

func TestTimeoutEndsAStep(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.readySandboxes("x")
	ofTask := taskIn("x", "task", shell("step", "echo before; sleep 30"), shell("never", "true"))
	ofTask.Spec.Timeout = "1s"
	ofStep := taskIn("x", "step", shell("step", "echo before; sleep 30"), shell("never", "true"))
	ofStep.Spec.Steps[0].Timeout = "1s"
	for _, task := range []*v1alpha1.Task{ofTask, ofStep} {
		failed := n.Perform(task)
		n.wantFailed(failed, v1alpha1.TaskReasonTimeout, v1alpha1.FailureUser)
		took, err := time.ParseDuration(failed.Status.Duration)
		if err != nil || took < time.Second || took > 15*time.Second {
			t.Errorf("task %s took %q (%v), want little more than its timeout of 1s", task.Name, failed.Status.Duration, err)
		}
		if failed.Status.Stdout != "before\n" {
			t.Errorf("task %s: what was written before the timeout is %q", task.Name, failed.Status.Stdout)
		}
		if got := failed.Status.Steps[1].State; got != v1alpha1.StepSkipped {
			t.Errorf("task %s: the step after the one that timed out is %s", task.Name, got)
		}
	}
}

// called returns the processes of this machine whose command line has the word.
func called(t *testing.T, word string) []int {
	t.Helper()
	var found []int
	for _, pid := range processes(t) {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && bytes.Contains(line, []byte(word)) {
			found = append(found, pid)
		}
	}
	return found
}

// family is a script that starts processes of a name in all the ways that
// make them hard to find for who started the script, and then waits.
func family(name string) (script string, size int) {
	return strings.ReplaceAll(`
ln -s "$(command -v sleep)" NAME
./NAME 1000 &
(./NAME 1001 &)
setsid ./NAME 1002 &
(setsid env -i "$PWD/NAME" 1003 &)
sh -c 'trap "" TERM; exec ./NAME 1004' &
echo started
./NAME 30
`, "NAME", name), 6
}

func TestEndOfAStepTakesItsFamily(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		reason string
		end    func(n *tenant, task string) error
	}{
		{"timeout", v1alpha1.TaskReasonTimeout, func(*tenant, string) error { return nil }},
		{"cancel", v1alpha1.TaskReasonCancelled, func(n *tenant, task string) error { return n.cancel(task) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n := newTenant(t, shared(t))
			n.readySandboxes("x")
			name := "arl-test-" + rand.String(10)
			script, size := family(name)
			task := taskIn("x", "parent", shell("step", script))
			if test.reason == v1alpha1.TaskReasonTimeout {
				task.Spec.Timeout = "3s"
			}
			n.CreateTask(task)
			eventually(t, "the whole family", func(context.Context) error {
				if pids := called(t, "/"+name+"\x00"); len(pids) < size {
					return fmt.Errorf("there are %d, want %d", len(pids), size)
				}
				return nil
			})
			if err := test.end(n, "parent"); err != nil {
				t.Fatal(err)
			}
			n.wantFailed(n.AwaitEnd("parent"), test.reason, v1alpha1.FailureUser)
			if pids := called(t, name); len(pids) != 0 {
				t.Errorf("processes %v have outlived the step", pids)
			}
		})
	}
}

// cancel sets spec.cancel of a task.
func (n *tenant) cancel(task string) error {
	_, err := n.Tasks().Patch(n.T.Context(), task, types.MergePatchType, []byte(`{"spec":{"cancel":true}}`), patchNow)
	return err
}

// TestSleepDelaysNobody looks at states and at no clock: tasks come and go
// while another sandbox is busy all the time.
func TestSleepDelaysNobody(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.readySandboxes("busy", "other")
	n.CreateTask(taskIn("busy", "sleeps", shell("step", "sleep 250")))
	n.CreateTask(taskIn("busy", "behind", shell("step", "true")))
	n.AwaitRunning("sleeps")
	for i := range 5 {
		n.Succeed(taskIn("other", fmt.Sprintf("passes-%d", i), shell("step", "true")))
	}
	for name, want := range map[string]v1alpha1.TaskState{"sleeps": v1alpha1.TaskRunning, "behind": v1alpha1.TaskPending} {
		got, err := n.Tasks().Get(t.Context(), name, getNow)
		if err != nil {
			t.Fatal(err)
		}
		if got.Status.State != want {
			t.Errorf("task %s is %s, want %s", name, describe(got), want)
		}
	}
}

// TestTasksOfASandboxRunInOrder creates tasks faster than they run.
func TestTasksOfASandboxRunInOrder(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.readySandboxes("x")
	var want strings.Builder
	for i := range 30 {
		n.CreateTask(taskIn("x", fmt.Sprintf("task-%d", i), shell("step", fmt.Sprintf("echo %d >>order", i))))
		fmt.Fprintln(&want, i)
	}
	if got := n.Output("x", "cat order"); got != want.String() {
		t.Errorf("tasks ran in the order %q", strings.Fields(got))
	}
}

// TestThousandTasksCarryTheirOutput is for an agent that says that a command has
// ended before all of its output was read.
func TestThousandTasksCarryTheirOutput(t *testing.T) {
	t.Parallel()
	const sandboxes, each = 10, 100
	n := newTenant(t, shared(t))
	names := make([]string, sandboxes)
	for i := range names {
		names[i] = fmt.Sprintf("x%d", i)
	}
	n.readySandboxes(names...)
	var group errgroup.Group
	for _, name := range names {
		group.Go(func() error {
			for i := range each {
				word := fmt.Sprintf("%s-%d", name, i)
				task := taskIn(name, word, v1alpha1.TaskStep{Name: "step", Type: v1alpha1.StepCommand, Command: []string{"echo", word}})
				if _, err := n.Tasks().Create(t.Context(), task, createNow); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of all tasks", func(ctx context.Context) error {
		tasks, err := n.Tasks().List(ctx, everything)
		if err != nil {
			return err
		}
		return allEchoed(tasks.Items, sandboxes*each)
	})
}

// allEchoed returns nil if all of so many tasks wrote their own names, and an
// error while some have not ended.
func allEchoed(tasks []v1alpha1.Task, count int) error {
	if len(tasks) != count {
		return fmt.Errorf("there are %d tasks, want %d", len(tasks), count)
	}
	running := 0
	var errs []error
	for _, task := range tasks {
		switch {
		case !ended(&task):
			running++
		case task.Status.State != v1alpha1.TaskSucceeded || task.Status.Stdout != task.Name+"\n":
			errs = append(errs, fmt.Errorf("task %s wrote %q: %s", task.Name, task.Status.Stdout, describe(&task)))
		}
	}
	if running > 0 {
		errs = append(errs, fmt.Errorf("%d have not ended", running))
	}
	return errors.Join(errs...)
}
