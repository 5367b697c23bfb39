package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	watchtools "k8s.io/client-go/tools/watch"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/e2e/cluster"
)

const (
	manyTasks     = 1000
	manySandboxes = 100
)

// testThousandTasks runs tasks one after another in sandboxes that live on:
// through kube-apiserver, and some at our server itself.
func (n *tenant) testThousandTasks(w *etcdWatch) {
	w.settle(n.T)
	begin := time.Now()
	took := n.echoes("echo", manyTasks)
	n.T.Logf("%d tasks in %s, one after another, each from its create until its end was seen: %s",
		manyTasks, since(begin), distribution(took))
	w.wantNone(n.T, fmt.Sprintf("%d tasks in sandboxes that live on", manyTasks))
	n.wantNoEvents()

	direct := n.through(directly(n.T, n.user))
	n.T.Logf("the same at our server's own Service: %s", distribution(direct.echoes("direct", manyTasks/5)))
}

// echoes runs so many tasks in the sandboxes of testBurst, and says how long each took.
func (n *tenant) echoes(prefix string, tasks int) []time.Duration {
	n.T.Helper()
	ends := n.watchEnds()
	took := make([]time.Duration, tasks)
	for i := range took {
		took[i] = n.echo(ends, warmSandbox(i), fmt.Sprintf("%s-%d", prefix, i))
	}
	return took
}

// echo runs a task that echoes its own name, and returns how long that took.
func (n *tenant) echo(ends *endings, sandbox, name string) time.Duration {
	n.T.Helper()
	begin := time.Now()
	n.CreateTask(taskIn(sandbox, name, command("echo", "echo", name)))
	task := ends.await(n.T, name)
	took := time.Since(begin)
	if task.Status.State != v1alpha1.TaskSucceeded || task.Status.Stdout != name+"\n" {
		n.T.Errorf("task %s printed %q and is %s", name, task.Status.Stdout, outline(task))
	}
	return took
}

// endings are the ends of tasks, as a watch tells them.
type endings struct{ events <-chan watch.Event }

// watchEnds begins to watch a tenant's tasks, until the test ends.
func (n *tenant) watchEnds() *endings {
	n.T.Helper()
	list, err := n.Tasks().List(n.T.Context(), everything)
	if err != nil {
		n.T.Fatal(err)
	}
	watcher, err := watchtools.NewRetryWatcherWithContext(n.T.Context(), list.ResourceVersion, taskWatcher{n})
	if err != nil {
		n.T.Fatal(err)
	}
	n.T.Cleanup(func() {
		watcher.Stop()
		<-watcher.Done()
	})
	return &endings{watcher.ResultChan()}
}

// taskWatcher is a tenant's tasks for a watch that goes on when it is cut off.
type taskWatcher struct{ *tenant }

func (w taskWatcher) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	return w.Tasks().Watch(ctx, options)
}

// await waits for the end of a task, passing over all that others do.
func (e *endings) await(t *testing.T, name string) *v1alpha1.Task {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	last := &v1alpha1.Task{}
	for {
		select {
		case event, open := <-e.events:
			task, ok := event.Object.(*v1alpha1.Task)
			if !open || !ok {
				t.Fatalf("the watch of tasks told of %+v while task %s was waited for", event, name)
			}
			if task.Name != name {
				continue
			}
			if last = task; ended(task) {
				return task
			}
		case <-limit.C:
			t.Fatalf("task %s has not ended: %s", name, outline(last))
		}
	}
}

// testHundredSandboxes uses up all pods five times: it creates a sandbox for each,
// one after another, runs tasks in all of them, and deletes them. All that the cluster
// writes is of the pods that go, and of those that come in their place.
func (n *tenant) testHundredSandboxes(w *etcdWatch) {
	n.release()
	w.settle(n.T)
	ends := n.watchEnds()
	var creates, tasks []time.Duration
	begin := time.Now()
	for round := range manySandboxes / warmPods {
		name := func(i int) string { return fmt.Sprintf("round-%d-%d", round, i%warmPods) }
		for i := range warmPods {
			start := time.Now()
			n.ReadySandbox(name(i), "warm")
			creates = append(creates, time.Since(start))
		}
		for i := range warmPods * manyTasks / manySandboxes {
			tasks = append(tasks, n.echo(ends, name(i), fmt.Sprintf("task-%d-%d", round, i)))
		}
		n.release()
	}
	n.T.Logf("%d sandboxes with %d tasks in %s, pods replaced", len(creates), len(tasks), since(begin))
	n.T.Logf("create→Ready, one after another: %s", distribution(creates))
	n.T.Logf("task, from its create until its end was seen: %s", distribution(tasks))
	n.wantOnlyPods(w)
	n.wantNoEvents()
}

// release deletes all sandboxes, and waits until as many pods are ready again.
func (n *tenant) release() {
	n.T.Helper()
	if err := n.Sandboxes().DeleteCollection(n.T.Context(), deleteNow, everything); err != nil {
		n.T.Fatal(err)
	}
	n.AwaitPool("warm", warmPods)
}

// wantOnlyPods fails the test if anything was written but pods and their events.
func (n *tenant) wantOnlyPods(w *etcdWatch) {
	n.T.Helper()
	// The last pods go a while after the pool is full again.
	w.calmDown(n.T)
	seen := w.seen(n.T)
	n.T.Logf("etcd writes for %d sandboxes and %d tasks: %s", manySandboxes, manyTasks, seen)
	pods, events := cluster.Count(seen[ofPods])["/registry/pods"], len(seen[ofEvents])
	n.T.Logf("that is %.1f writes of pods and %.1f of their events for each pod that came and one that went",
		float64(pods.Puts+pods.Deletes+len(seen[ofReports]))/manySandboxes, float64(events)/manySandboxes)
	if len(seen[ofOthers]) > 0 {
		n.T.Errorf("sandboxes and tasks made the cluster write %s to etcd, want nothing but pods and their events", table(seen[ofOthers]))
	}
	if pods.Deletes < manySandboxes {
		n.T.Errorf("%d pods went with %d sandboxes: the count proves nothing", pods.Deletes, manySandboxes)
	}
}

// wantNoEvents fails the test if any event tells of something other than a pod.
func (n *tenant) wantNoEvents() {
	n.T.Helper()
	events, err := n.core.CoreV1().Events(n.Namespace).List(n.T.Context(), everything)
	if err != nil {
		n.T.Fatal(err)
	}
	for _, event := range events.Items {
		if event.InvolvedObject.Kind != "Pod" {
			n.T.Errorf("there is an event of %s %s: %s", event.InvolvedObject.Kind, event.InvolvedObject.Name, event.Message)
		}
	}
	n.T.Logf("%d events, all of pods", len(events.Items))
}
