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
	n.fillPool(busyPool("pool", 1))
	sandbox := n.readySandbox("box", "pool")
	n.awaitPool("pool", 1)
	n.createTask(taskIn("box", "ends-meanwhile", shell("sleeps", "sleep 2; echo line >>lines; echo meanwhile")))
	n.awaitRunning("ends-meanwhile")
	restarts := serverPod(t).Status.ContainerStatuses[0].RestartCount

	begin := time.Now()
	if err := shared.RestartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("kube-apiserver was ready again after %s", since(begin))
	awaitServed(t)
	t.Logf("our API was served after %s", since(begin))

	if task := n.awaitEnd("ends-meanwhile"); task.Status.Stdout != "meanwhile\n" || task.Status.Attempts != 1 {
		t.Errorf("the task that ran meanwhile printed %q: %s", task.Status.Stdout, outline(task))
	}
	if got := n.awaitSandbox("box", v1alpha1.SandboxReady).Status; got.PodUID != sandbox.Status.PodUID {
		t.Errorf("the sandbox had pod %s and has %s", sandbox.Status.PodUID, got.PodUID)
	}
	if got := n.output("box", "cat lines"); got != "line\n" {
		t.Errorf("the task has left %q", got)
	}
	// Pods are made and watched again: the pool gets its next one ready.
	n.readySandbox("next", "pool")
	n.awaitPool("pool", 1)
	if now := serverPod(t).Status.ContainerStatuses[0].RestartCount; now != restarts {
		t.Errorf("our server was started %d times more", now-restarts)
	}
}
