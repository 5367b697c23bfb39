package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

func TestLostPodFailsItsSandbox(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.FillPool(hostPool("pool", 1))
	before := n.CreateSandbox(sandboxOf("x", "pool"))
	n.AwaitPool("pool", 1)
	init := n.podInit("x")
	running := taskIn("x", "runs", shell("step", "sleep 250"))
	running.Spec.Retries = 1
	n.CreateTask(running)
	n.CreateTask(taskIn("x", "waits", shell("step", "true")))
	n.AwaitRunning("runs")
	kill(t, init)

	got := n.AwaitSandbox("x", v1alpha1.SandboxFailed)
	if got.Status.Reason != v1alpha1.SandboxReasonPodLost || got.Status.Message == "" {
		t.Errorf("the sandbox's status is %+v, want reason PodLost and a message", got.Status)
	}
	if got.Status.PodName != before.Status.PodName || got.Status.PodUID != before.Status.PodUID {
		t.Errorf("the sandbox was given another pod: %s, it had %s", got.Status.PodName, before.Status.PodName)
	}
	// A sandbox has one pod and no other, so there is nothing to try again in.
	lost := n.AwaitEnd("runs")
	n.wantFailed(lost, v1alpha1.TaskReasonAgentLost, v1alpha1.FailureInfrastructure)
	if lost.Status.Attempts != 1 {
		t.Errorf("%d attempts were made, want 1", lost.Status.Attempts)
	}
	wantWords(t, lost.Status.Message, "x", "steps may have run")
	n.wantFailed(n.AwaitEnd("waits"), v1alpha1.TaskReasonSandboxFailed, v1alpha1.FailureInfrastructure)
	n.wantFailed(n.Perform(taskIn("x", "late", shell("step", "true"))), v1alpha1.TaskReasonSandboxFailed, v1alpha1.FailureInfrastructure)
	n.AwaitPool("pool", 1)
}

func TestPoolReplacesALostPod(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.FillPool(hostPool("pool", 2))
	before := n.pods()
	if len(before) != 2 {
		t.Fatalf("pods are %v, want 2", before)
	}
	for _, uid := range before {
		n.killPod(uid)
	}
	n.awaitPods("two other pods", func(pods map[string]types.UID) bool {
		for name := range before {
			if _, ok := pods[name]; ok {
				return false
			}
		}
		return len(pods) == 2
	})
	n.AwaitPool("pool", 2)
	n.CreateSandbox(sandboxOf("x", "pool"))
	n.AwaitSandbox("x", v1alpha1.SandboxReady)
	n.Output("x", "true")
}

// sleeper returns the process with a mark that sleeps, once there is one.
func sleeper(t *testing.T, mark string) (pid int) {
	t.Helper()
	eventually(t, "a process that sleeps", func(context.Context) error {
		for _, candidate := range marked(t, mark) {
			if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", candidate)); err == nil && string(name) == "sleep\n" {
				pid = candidate
				return nil
			}
		}
		return errors.New("there is none")
	})
	return pid
}

func TestLostPodIsRetriedOnAnother(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.FillPool(hostPool("pool", 1))
	mark := rand.String(12)
	// The step outlives a sleep that is killed, and no more.
	step := shell("step", "sleep 250 || echo went on")
	step.Env = map[string]string{markVariable: mark}
	task := taskIn("", "one-shot", step)
	task.Spec.PoolRef, task.Spec.Retries = "pool", 1
	n.CreateTask(task)
	first := n.AwaitRunning("one-shot")

	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", sleeper(t, mark)))
	if err != nil {
		t.Fatal(err)
	}
	kill(t, initOf(t, namespace))
	second := n.AwaitTask("one-shot", "running again", func(task *v1alpha1.Task) error {
		if task.Status.State != v1alpha1.TaskRunning || task.Status.Attempts != 2 {
			return fmt.Errorf("status is %s", describe(task))
		}
		return nil
	})
	if second.Status.PodName == first.Status.PodName || second.Status.SandboxName == first.Status.SandboxName {
		t.Errorf("the second attempt is in sandbox %s and pod %s, as the first", second.Status.SandboxName, second.Status.PodName)
	}
	kill(t, sleeper(t, mark))
	done := n.AwaitEnd("one-shot")
	if done.Status.State != v1alpha1.TaskSucceeded || done.Status.Attempts != 2 || done.Status.Stdout != "went on\n" {
		t.Errorf("the task is %s, and wrote %q", describe(done), done.Status.Stdout)
	}
	n.AwaitNoSandbox(first.Status.SandboxName)
	n.AwaitNoSandbox(second.Status.SandboxName)
	n.AwaitPool("pool", 1)
}

// TestLastLostPodFailsTheTask has no attempt left.
func TestLastLostPodFailsTheTask(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.FillPool(hostPool("pool", 1))
	task := taskIn("", "one-shot", shell("step", "sleep 250"))
	task.Spec.PoolRef = "pool"
	n.CreateTask(task)
	running := n.AwaitRunning("one-shot")
	n.killPod(n.pods()[running.Status.PodName])
	failed := n.AwaitEnd("one-shot")
	n.wantFailed(failed, v1alpha1.TaskReasonAgentLost, v1alpha1.FailureInfrastructure)
	if failed.Status.Attempts != 1 {
		t.Errorf("%d attempts were made, want 1", failed.Status.Attempts)
	}
}
