package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/generated/clientset/versioned"
	informers "arl.io/arl/pkg/generated/informers/externalversions"
	"arl.io/arl/pkg/scheduler"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

// runAll has the cluster start every pod that is created in a namespace.
func (c *cluster) runAll(t *testing.T, namespace string) {
	t.Helper()
	w, err := c.client.Tracker().Watch(corev1.SchemeGroupVersion.WithResource("pods"), namespace)
	if err != nil {
		t.Fatal(err)
	}
	c.space = namespace
	var group sync.WaitGroup
	group.Go(func() {
		for event := range w.ResultChan() {
			if event.Type == watch.Added {
				c.run(event.Object.(*corev1.Pod).Name)
			}
		}
	})
	t.Cleanup(func() {
		w.Stop()
		group.Wait()
	})
}

// schedule runs a scheduler with a new runtime on the cluster, until stop is called.
func schedule(t *testing.T, c *cluster, api *schedulertest.API) (stop func()) {
	t.Helper()
	r, err := New(Config{Client: c.client, Records: c.records, Image: "arl:test", Port: c.port, Credentials: c.credentials})
	if err != nil {
		t.Fatal(err)
	}
	s, err := scheduler.New(scheduler.Config{
		Client: api, Informers: informers.NewSharedInformerFactory(versioned.Interface(api), 0), Runtime: r, Clock: clock.RealClock{},
	})
	if err != nil {
		t.Fatal(err)
	}
	api.SetReserver(s)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	watching := c.awaitWatch(1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		api.SetReserver(nil)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	<-watching
	eventually(t, "the scheduler is ready", func() error { return s.Check(nil) })
	return stop
}

// eventually waits until check returns no error.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	for end := time.Now().Add(deadline); ; <-time.After(time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// TestUnderTheScheduler has the scheduler fill a pool, claim a pod, run a task
// in it, and find all of it again after a restart.
func TestUnderTheScheduler(t *testing.T) {
	c := newCluster(t)
	api := schedulertest.NewAPI(clock.RealClock{})
	c.runAll(t, schedulertest.Namespace)
	stop := schedule(t, c, api)
	arl, ctx := api.ArlV1alpha1(), t.Context()
	idle := func(want int32) func() error {
		return func() error {
			pool, err := arl.WarmPools(schedulertest.Namespace).Get(ctx, "pool", metav1.GetOptions{})
			if err != nil || pool.Status.ReadyReplicas != want || pool.Status.Replicas != want {
				return fmt.Errorf("%+v, %v", pool.Status, err)
			}
			return nil
		}
	}
	if _, err := arl.WarmPools(schedulertest.Namespace).Create(ctx, schedulertest.Pool("pool", 2), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "two pods are idle", idle(2))
	created, err := arl.Sandboxes(schedulertest.Namespace).Create(ctx, schedulertest.Sandbox("box", "pool"), metav1.CreateOptions{})
	if err != nil || created.Status.Phase != v1alpha1.SandboxReady {
		t.Fatalf("%+v, %v", created, err)
	}
	eventually(t, "the pool is filled up", idle(2))
	runTask := func(name string) {
		t.Helper()
		if _, err := arl.Tasks(schedulertest.Namespace).Create(ctx, schedulertest.Task(name, "box", "echo", name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "task "+name, func() error {
			task, err := arl.Tasks(schedulertest.Namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil || task.Status.State != v1alpha1.TaskSucceeded || task.Status.Stdout != name+"\n" {
				return fmt.Errorf("%+v, %v", task.Status, err)
			}
			return nil
		})
	}
	runTask("one")

	stop()
	schedule(t, c, api)
	eventually(t, "the pods are known again", idle(2))
	runTask("two")
	bound, err := arl.Sandboxes(schedulertest.Namespace).Get(ctx, "box", metav1.GetOptions{})
	if err != nil || bound.Status.PodUID != created.Status.PodUID || bound.Status.Phase != v1alpha1.SandboxReady {
		t.Fatalf("%+v, %v", bound, err)
	}
	if err := arl.Sandboxes(schedulertest.Namespace).Delete(ctx, "box", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod of the sandbox is gone", func() error {
		pods, err := c.client.CoreV1().Pods(schedulertest.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil || len(pods.Items) == 2 {
			return err
		}
		return errors.New("it is there")
	})
}
