package e2e

import (
	"testing"
	"time"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// TestControlPlaneRestart kills kube-apiserver while tasks run. Our server has
// to notice nothing but that it is not asked for a while.
func TestControlPlaneRestart(t *testing.T) {
	n := newTenant(t)
	n.FillPool(busyPool("pool", 1))
	sandbox := n.ReadySandbox("box", "pool")
	n.AwaitPool("pool", 1)
	n.CreateTask(taskIn("box", "ends-meanwhile", shell("sleeps", "sleep 2; echo line >>lines; echo meanwhile")))
	n.AwaitRunning("ends-meanwhile")
	restarts := serverPod(t).Status.ContainerStatuses[0].RestartCount

	begin := time.Now()
	if err := shared.RestartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("kube-apiserver was ready again after %s", since(begin))
	awaitServed(t)
	t.Logf("our API was served after %s", since(begin))

	if task := n.AwaitEnd("ends-meanwhile"); task.Status.Stdout != "meanwhile\n" || task.Status.Attempts != 1 {
		t.Errorf("the task that ran meanwhile printed %q: %s", task.Status.Stdout, outline(task))
	}
	if got := n.AwaitSandbox("box", v1alpha1.SandboxReady).Status; got.PodUID != sandbox.Status.PodUID {
		t.Errorf("the sandbox had pod %s and has %s", sandbox.Status.PodUID, got.PodUID)
	}
	if got := n.Output("box", "cat lines"); got != "line\n" {
		t.Errorf("the task has left %q", got)
	}
	// Pods are made and watched again: the pool gets its next one ready.
	n.ReadySandbox("next", "pool")
	n.AwaitPool("pool", 1)
	if now := serverPod(t).Status.ContainerStatuses[0].RestartCount; now != restarts {
		t.Errorf("our server was started %d times more", now-restarts)
	}
}
