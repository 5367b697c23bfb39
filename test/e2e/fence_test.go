package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// TestStepsCannotTakeOverTheAgent has steps of the agent's own user try to trace, read and stop it.
// Where the containers of a pod share a process namespace, the agent is not its first process: then a
// step can stop it, and no more.
func TestStepsCannotTakeOverTheAgent(t *testing.T) {
	n := newTenant(t)
	for _, tt := range []struct {
		name string
		pod  corev1.PodSpec
		want string
	}{
		{"root", corev1.PodSpec{}, "open: [], stops: false\n"},
		{"ordinary", corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](1000)}}, "open: [], stops: false\n"},
		{"shared", corev1.PodSpec{ShareProcessNamespace: ptr.To(true)}, "open: [], stops: true\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pool := probePool(t, tt.name, 1)
			pool.Spec.Template.Spec.SecurityContext = tt.pod.SecurityContext
			pool.Spec.Template.Spec.ShareProcessNamespace = tt.pod.ShareProcessNamespace
			n := n.in(t)
			n.FillPool(pool)
			n.ReadySandbox(tt.name, tt.name)
			// Twice: the agent is there after the first time.
			for _, name := range []string{"first", "second"} {
				task := n.Perform(taskIn(tt.name, tt.name+"-"+name, command("intrudes", probeProgram, "intrude")))
				wantSucceeded(t, task)
				if task.Status.Stdout != tt.want {
					t.Errorf("%s: got %q, want %q", name, task.Status.Stdout, tt.want)
				}
			}
		})
	}
}

// TestAStoppedAgentFailsItsSandbox has a step stop its agent, which it can where the containers of the
// pod share a process namespace. The sandbox fails long before the timeout of the task.
func TestAStoppedAgentFailsItsSandbox(t *testing.T) {
	n := newTenant(t)
	pool := busyPool("stopped", 1)
	pool.Spec.Template.Spec.ShareProcessNamespace = ptr.To(true)
	n.FillPool(pool)
	n.ReadySandbox("stopped", "stopped")
	task := taskIn("stopped", "stops", command("stops", "sh", "-c", "kill -STOP $PPID; sleep 3600"))
	task.Spec.Timeout = "1h"
	begin := time.Now()
	done := n.Perform(task)
	if done.Status.Reason != v1alpha1.TaskReasonAgentLost || done.Status.FailureClass != v1alpha1.FailureInfrastructure {
		t.Errorf("the task ended with %s", outline(done))
	}
	t.Logf("found after %s: %s", since(begin), done.Status.Message)
	eventually(t, "the sandbox has failed", func(ctx context.Context) error {
		box, err := n.Sandboxes().Get(ctx, "stopped", getNow)
		if err != nil {
			return err
		}
		if box.Status.Reason != v1alpha1.SandboxReasonAgentLost {
			return fmt.Errorf("it is %s: %s: %s", box.Status.Phase, box.Status.Reason, box.Status.Message)
		}
		return nil
	})
}
