package integration

import (
	"context"
	"fmt"
	"os/exec"
	"testing"

	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// requestLoop sends the request of a client that comes up before its server does.
const requestLoop = `until python3 -c 'import urllib.request as u; print(u.urlopen("http://127.0.0.1:8080/hello").read().decode(), end="")' 2>/dev/null; do sleep 0.1; done`

// TestAServerLeftRunningServesLaterTasks starts a server in one task and uses it in
// others. Its log goes to the output of the task that started it, which has ended.
// A later task that times out does not end it; the sandbox does.
func TestAServerLeftRunningServesLaterTasks(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("this machine, whose files the pods have, has no python3 for the server")
	}
	n := newTenant(t, shared(t))
	n.readySandboxes("x")
	name := "arl-test-" + rand.String(10)
	started := n.Succeed(taskIn("x", "start", shell("step",
		"mkdir www; echo hello >www/hello; cd www; ln -s $(command -v python3) "+name+"; nohup ./"+name+" -m http.server 8080 & echo started")))
	if got := started.Status.Stdout; got != "started\n" {
		t.Errorf("the first task wrote %q", got)
	}
	n.Succeed(taskIn("x", "use", v1alpha1.TaskStep{
		Name: "step", Type: v1alpha1.StepCommand, Command: []string{"sh", "-c", requestLoop},
	}))
	slow := taskIn("x", "slow", shell("step", "sleep 300 & setsid sleep 300 & sleep 300"))
	slow.Spec.Timeout, slow.Spec.TerminationGracePeriodSeconds = "1s", ptr.To[int32](0)
	n.CreateTask(slow)
	n.wantFailed(n.AwaitEnd("slow"), v1alpha1.TaskReasonTimeout, v1alpha1.FailureUser)
	for i := range 3 {
		if got := n.Succeed(taskIn("x", fmt.Sprintf("again-%d", i), shell("step", requestLoop))).Status.Stdout; got != "hello\n" {
			t.Errorf("the server answered %q", got)
		}
	}
	if pids := called(t, name); len(pids) != 1 {
		t.Errorf("processes %v are the server, want one", pids)
	}
	if err := n.Sandboxes().Delete(t.Context(), "x", deleteNow); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the server", func(context.Context) error {
		if pids := called(t, name); len(pids) > 0 {
			return fmt.Errorf("processes %v are still there", pids)
		}
		return nil
	})
}
