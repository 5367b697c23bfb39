package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/generated/clientset/versioned"
	"arl.io/arl/test/e2e/cluster"
)

// TestKubeletStopped stops the kubelet of the only node, until the cluster has
// given the node up, and takes the node out of the cluster then. Pods that
// answer are used as long as they are there.
func TestKubeletStopped(t *testing.T) {
	n := newTenant(t)
	n.FillPool(busyPool("pool", 1))
	old := n.ReadySandbox("old", "pool")
	n.AwaitPool("pool", 1)
	// The way around kube-apiserver, which goes by what nodes say of our server's pod.
	direct := n.direct()
	if err := shared.KillKubelet(); err != nil {
		t.Fatal(err)
	}
	// Whatever happens here, the other tests need the node.
	running := false
	defer func() {
		if !running {
			startKubelet(t)
		}
	}()

	direct.Output("old", "echo here >note")
	direct.ReadySandbox("new", "pool")
	direct.Output("new", "cat "+markFile)
	eventually(t, "the pool waits for the node", func(ctx context.Context) error {
		pool, err := direct.Pools().Get(ctx, "pool", getNow)
		if err == nil && (pool.Status.Replicas != 1 || pool.Status.ReadyReplicas != 0) {
			err = fmt.Errorf("its status is %+v", pool.Status)
		}
		return err
	})

	admin := clientOf(t, cluster.Admin)
	took := slowly(t, "the cluster has given up the node", func(ctx context.Context) error {
		pod, err := admin.CoreV1().Pods(n.Namespace).Get(ctx, old.Status.PodName, getNow)
		if err == nil && podReady(pod) {
			err = errors.New("its pods are said to be ready")
		}
		return err
	})
	t.Logf("the cluster gave the node up after %s", took)
	if got := direct.Output("old", "cat note"); got != "here\n" {
		t.Errorf("a task in a pod that answers printed %q", got)
	}
	for _, name := range []string{"old", "new"} {
		direct.AwaitSandbox(name, v1alpha1.SandboxReady)
	}

	if err := admin.CoreV1().Nodes().Delete(t.Context(), cluster.NodeName, deleteNow); err != nil {
		t.Fatal(err)
	}
	took = slowly(t, "the cluster has given up the pods", func(ctx context.Context) error {
		pod, err := admin.CoreV1().Pods(n.Namespace).Get(ctx, old.Status.PodName, getNow)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(fmt.Errorf("the pod is there: %s", podTrouble(pod)), err)
	})
	t.Logf("the cluster gave its pods up %s after the node was deleted", took)
	startKubelet(t)
	running = true
	awaitServed(t)

	// Our server's own pod was given up as well. Whether it was still allowed to
	// write down why the others went depends on the order.
	for _, name := range []string{"old", "new"} {
		failed := n.AwaitSandbox(name, v1alpha1.SandboxFailed).Status
		t.Logf("sandbox %s says: %s: %s", name, failed.Reason, failed.Message)
		if failed.Reason != v1alpha1.SandboxReasonPodLost {
			t.Errorf("the sandbox's status is %+v", failed)
		}
	}
	n.AwaitPool("pool", 1)
	n.Output(n.ReadySandbox("after", "pool").Name, "cat "+markFile)
	t.Logf("our server was started %d times more", serverPod(t).Status.ContainerStatuses[0].RestartCount)
}

// slowly waits until a check holds for which the cluster itself takes a minute.
// It returns how long it took.
func slowly(t *testing.T, what string, check func(context.Context) error) time.Duration {
	t.Helper()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	if err := until(ctx, check); err != nil {
		t.Fatalf("wait until %s: %v", what, err)
	}
	return since(begin)
}

// startKubelet starts the kubelet, and waits until the node is ready.
func startKubelet(t *testing.T) {
	t.Helper()
	if err := shared.StartKubelet(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := shared.WaitNodeReady(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// direct is the same tenant, whose client speaks to our server's pod itself: a
// Service leads nowhere while the cluster takes the pod for lost.
func (n *tenant) direct() *tenant {
	n.T.Helper()
	config := directConfig(n.T, n.user)
	config.Host = "https://" + net.JoinHostPort(serverPod(n.T).Status.PodIP, "7443")
	arl, err := versioned.NewForConfig(config)
	if err != nil {
		n.T.Fatal(err)
	}
	return n.through(arl)
}

// TestNodePowerLoss ends the node, with our server on it, and starts it again.
// What was stored is there, what ran is not, and everybody is told so.
func TestNodePowerLoss(t *testing.T) {
	n := newTenant(t)
	n.FillPool(busyPool("pool", 1))
	n.ReadySandbox("box", "pool")
	n.AwaitPool("pool", 1)
	n.CreateTask(taskIn("box", "runs", shell("sleeps", "sleep 1000")))
	n.AwaitRunning("runs")
	before := n.poolPods("pool")

	if err := shared.StopNode(t.Context()); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := shared.StartNode(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitServed(t)
	t.Logf("our API was served %s after the node was started", since(begin))

	failed := n.AwaitSandbox("box", v1alpha1.SandboxFailed).Status
	t.Logf("the sandbox says: %s: %s", failed.Reason, failed.Message)
	if failed.Reason != v1alpha1.SandboxReasonPodLost {
		t.Errorf("the sandbox's status is %+v", failed)
	}
	task := n.AwaitEnd("runs")
	if s := task.Status; s.State != v1alpha1.TaskFailed || s.Reason != v1alpha1.TaskReasonAgentLost || s.FailureClass != v1alpha1.FailureInfrastructure {
		t.Errorf("the task is %s", outline(task))
	}
	wantWords(t, task.Status.Message, "steps may have run")
	n.AwaitPool("pool", 1)
	for i := range before {
		n.awaitNoPod(&before[i])
	}
	n.Output(n.ReadySandbox("after", "pool").Name, "cat "+markFile)
}
