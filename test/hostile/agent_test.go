package hostile

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/hostile/falseagent"
	"arl.io/arl/test/space"
)

// memoryGrowth is what the server's memory may grow by while dozens of agents lie at once.
const memoryGrowth = 400 << 20

// TestLiesOfAgents has the agent of a pod tell each lie there is, all at the same time. Each task
// comes to an end that can be stored and read, its sandbox and pool can be deleted, and an honest
// sandbox beside them works all the while.
func TestLiesOfAgents(t *testing.T) {
	s := startServer(t)
	honest := s.tenant(t, "honest")
	honest.FillPool(pool("pool", 1))
	honest.ReadySandbox("box", "pool")
	wantEcho(honest, "box", "before")
	s.note(t)
	growth := s.watchMemory(t)
	t.Run("lie", func(t *testing.T) {
		for _, lie := range falseagent.Lies() {
			t.Run(lie, func(t *testing.T) {
				t.Parallel()
				lieTo(t, s, lie)
			})
		}
	})
	wantEcho(honest, "box", "after")
	growth.want(t, memoryGrowth)
}

// TestHugeResults has six agents at once answer with results that take a hundred times more memory
// than bytes, as often as they are asked.
func TestHugeResults(t *testing.T) {
	s := startServer(t)
	n := s.tenant(t, "huge")
	const pods = 6
	n.FillPool(pool("pool", pods, corev1.EnvVar{Name: falseagent.LieVariable, Value: "steps-huge"}))
	for i := range pods {
		n.ReadySandbox(fmt.Sprintf("box-%d", i), "pool")
	}
	s.note(t)
	growth := s.watchMemory(t)
	for i := range pods {
		task := echo(fmt.Sprintf("box-%d", i), fmt.Sprintf("task-%d", i), "hello")
		task.Spec.Timeout = "5s"
		n.CreateTask(task)
	}
	for i := range pods {
		t.Log(space.Outline(n.AwaitEnd(fmt.Sprintf("task-%d", i))))
	}
	growth.want(t, memoryGrowth)
}

// lieTo has one agent lie until the task that it was given has ended.
func lieTo(t *testing.T, s *server, lie string) {
	n := s.tenant(t, "lie-"+lie)
	n.FillPool(pool("pool", 1, corev1.EnvVar{Name: falseagent.LieVariable, Value: lie}))
	n.ReadySandbox("box", "pool")
	task := echo("box", "task", "hello")
	task.Spec.Timeout = "5s"
	begin := metav1.Now()
	done := n.Perform(task)
	t.Logf("ended after %s: %.200s", time.Since(begin.Time).Round(time.Millisecond), space.Outline(done))
	if err := space.Plausible(done, begin.Time, time.Now()); err != nil {
		t.Error(err)
	}
	wantReadable(t, s, n.Namespace)
	// Nothing of the lie holds up a deletion.
	for what, remove := range map[string]func() error{
		"task": func() error { return n.Tasks().Delete(t.Context(), "task", deleteNow) },
		"box":  func() error { return n.Sandboxes().Delete(t.Context(), "box", deleteNow) },
		"pool": func() error { return n.Pools().Delete(t.Context(), "pool", deleteNow) },
	} {
		if err := remove(); err != nil {
			t.Errorf("delete %s: %v", what, err)
		}
	}
	waits.Eventually(t, "nothing is left in the namespace", func(ctx context.Context) error {
		pools, err := n.Pools().List(ctx, everything)
		if err != nil {
			return err
		}
		sandboxes, err := n.Sandboxes().List(ctx, everything)
		if err == nil && len(pools.Items)+len(sandboxes.Items) > 0 {
			err = fmt.Errorf("%d pools and %d sandboxes", len(pools.Items), len(sandboxes.Items))
		}
		return err
	})
}

// wantReadable lists and watches as typed and untyped clients do, with each serialization there is.
func wantReadable(t *testing.T, s *server, namespace string) {
	t.Helper()
	for _, kind := range []string{"tasks", "sandboxes", "warmpools"} {
		path := "/apis/arl.io/v1alpha1/namespaces/" + namespace + "/" + kind
		for _, accept := range []string{
			"application/json", "application/yaml", "application/vnd.kubernetes.protobuf",
			"application/json;as=Table;g=meta.k8s.io;v=v1",
		} {
			body, err := s.client.ArlV1alpha1().RESTClient().Get().AbsPath(path).SetHeader("Accept", accept).Do(t.Context()).Raw()
			if err != nil {
				t.Errorf("list %s as %s: %v: %.300s", kind, accept, err, body)
			}
		}
	}
	client := s.client.ArlV1alpha1()
	tasks, err := client.Tasks(namespace).List(t.Context(), everything)
	if err != nil {
		t.Errorf("list tasks: %v", err)
		return
	}
	watch, err := client.Tasks(namespace).Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Errorf("watch tasks: %v", err)
		return
	}
	defer watch.Stop()
	for range tasks.Items {
		select {
		case event := <-watch.ResultChan():
			if _, ok := event.Object.(*v1alpha1.Task); !ok {
				t.Errorf("the watch has %s: %+v", event.Type, event.Object)
			}
		case <-time.After(patience):
			t.Error("the watch is silent")
		}
	}
}
