package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/harness"
)

// benchLabel is on every task of a measurement.
const benchLabel = "bench"

// createPool makes the pool of a server that was started for the measurement.
func createPool(ctx context.Context, kubeconfig, name string, replicas int32) error {
	client, err := harness.NewClient(kubeconfig)
	if err != nil {
		return err
	}
	pool := &v1alpha1.WarmPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.WarmPoolSpec{
		Replicas: &replicas,
		Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "executor", Image: "host"}},
		}},
	}}
	if _, err := client.ArlV1alpha1().WarmPools(namespace).Create(ctx, pool, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create pool: %w", err)
	}
	return nil
}

// waitForPods waits until n pods are idle, so that every claim finds one. The
// pool's status may lag behind by a moment.
func (t *target) waitForPods(ctx context.Context, n int) error {
	return wait.PollUntilContextTimeout(ctx, pollInterval, patience, true, func(ctx context.Context) (bool, error) {
		pool, err := t.client.ArlV1alpha1().WarmPools(namespace).Get(ctx, t.pool, metav1.GetOptions{})
		if err != nil {
			return false, fmt.Errorf("get pool: %w", err)
		}
		return int(pool.Status.ReadyReplicas) >= n, nil
	})
}

// measure prints one line for each kind of load.
func (t *target) measure(ctx context.Context, s settings) error {
	printHeader(os.Stdout)
	claims := distribution{name: "create sandbox -> Ready, one after another"}
	for range s.sandboxes {
		if err := t.waitForPods(ctx, t.replicas); err != nil {
			return err
		}
		sandbox, err := t.claim(ctx)
		if err != nil {
			return err
		}
		if sandbox.hit {
			claims.samples = append(claims.samples, sandbox.took)
		}
		if err := t.release(ctx, sandbox.name); err != nil {
			return err
		}
	}
	claims.print(os.Stdout)
	t.printMisses(os.Stdout)

	if s.burst > 0 {
		if err := t.measureBurst(ctx, s.burst); err != nil {
			return err
		}
	}
	tasks := distribution{name: "echo task create -> Succeeded, one after another"}
	if err := t.inSandbox(ctx, func(sandbox string) error {
		for range s.tasks {
			took, err := t.echo(ctx, sandbox)
			if err != nil {
				return err
			}
			tasks.samples = append(tasks.samples, took)
		}
		return nil
	}); err != nil {
		return err
	}
	tasks.print(os.Stdout)
	if s.clients > 0 {
		if err := t.measureClients(ctx, s.clients, s.tasks); err != nil {
			return err
		}
	}
	return t.deleteTasks(ctx)
}

// deleteTasks removes the tasks of the measurement.
func (t *target) deleteTasks(ctx context.Context) error {
	err := t.client.ArlV1alpha1().Tasks(namespace).DeleteCollection(ctx,
		metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: benchLabel})
	if err != nil {
		return fmt.Errorf("delete tasks: %w", err)
	}
	return nil
}

// measureBurst claims n sandboxes at the same time.
func (t *target) measureBurst(ctx context.Context, n int) error {
	if err := t.waitForPods(ctx, n); err != nil {
		return err
	}
	sandboxes := make([]claimed, n)
	start := time.Now()
	group, groupCtx := errgroup.WithContext(ctx)
	for i := range n {
		group.Go(func() (err error) {
			sandboxes[i], err = t.claim(groupCtx)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	burst := distribution{name: fmt.Sprintf("create sandbox -> Ready, %d at once", n), elapsed: time.Since(start)}
	for _, sandbox := range sandboxes {
		if sandbox.hit {
			burst.samples = append(burst.samples, sandbox.took)
		}
		if err := t.release(ctx, sandbox.name); err != nil {
			return err
		}
	}
	burst.print(os.Stdout)
	t.printMisses(os.Stdout)
	return nil
}

// measureClients runs n tasks in all, by clients with a sandbox each.
func (t *target) measureClients(ctx context.Context, clients, n int) error {
	if err := t.waitForPods(ctx, clients); err != nil {
		return err
	}
	perClient := make([][]time.Duration, clients)
	start := time.Now()
	group, groupCtx := errgroup.WithContext(ctx)
	for i := range clients {
		group.Go(func() error {
			return t.inSandbox(groupCtx, func(sandbox string) error {
				for range max(1, n/clients) {
					took, err := t.echo(groupCtx, sandbox)
					if err != nil {
						return err
					}
					perClient[i] = append(perClient[i], took)
				}
				return nil
			})
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	all := distribution{name: fmt.Sprintf("echo task, %d clients", clients), elapsed: time.Since(start)}
	for _, samples := range perClient {
		all.samples = append(all.samples, samples...)
	}
	all.print(os.Stdout)
	return nil
}

// claimed is a sandbox that is Ready.
type claimed struct {
	name string
	took time.Duration
	// hit says that the create's own answer said Ready. Otherwise no pod was
	// idle, took says nothing of a warm pool, and the claim is a miss.
	hit bool
}

// claim creates a sandbox and waits until it is Ready.
func (t *target) claim(ctx context.Context) (claimed, error) {
	sandboxes := t.client.ArlV1alpha1().Sandboxes(namespace)
	sandbox := &v1alpha1.Sandbox{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-"},
		Spec:       v1alpha1.SandboxSpec{PoolRef: t.pool},
	}
	start := time.Now()
	created, err := sandboxes.Create(ctx, sandbox, metav1.CreateOptions{})
	took := time.Since(start)
	if err != nil {
		return claimed{}, fmt.Errorf("create sandbox: %w", err)
	}
	if created.Status.Phase == v1alpha1.SandboxReady {
		return claimed{name: created.Name, took: took, hit: true}, nil
	}
	t.misses.Add(1)
	err = wait.PollUntilContextTimeout(ctx, pollInterval, patience, true, func(ctx context.Context) (bool, error) {
		now, err := sandboxes.Get(ctx, created.Name, metav1.GetOptions{})
		return err == nil && now.Status.Phase == v1alpha1.SandboxReady, err
	})
	if err != nil {
		return claimed{}, fmt.Errorf("wait for sandbox %s: %w", created.Name, err)
	}
	return claimed{name: created.Name}, nil
}

// printMisses says how many creates found no idle pod since the last time.
func (t *target) printMisses(w io.Writer) {
	if n := t.misses.Swap(0); n > 0 {
		fmt.Fprintf(w, "  (%d more creates found no idle pod, because the pool was still being refilled)\n", n)
	}
}

func (t *target) release(ctx context.Context, sandbox string) error {
	if err := t.client.ArlV1alpha1().Sandboxes(namespace).Delete(ctx, sandbox, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("delete sandbox: %w", err)
	}
	return nil
}

func (t *target) inSandbox(ctx context.Context, do func(sandbox string) error) error {
	sandbox, err := t.claim(ctx)
	if err != nil {
		return err
	}
	if err := do(sandbox.name); err != nil {
		return err
	}
	return t.release(ctx, sandbox.name)
}

// echo runs one task and returns how long it took until the watch said that it
// had succeeded, with its output.
func (t *target) echo(ctx context.Context, sandbox string) (time.Duration, error) {
	task := &v1alpha1.Task{
		ObjectMeta: metav1.ObjectMeta{
			Name:   fmt.Sprintf("%s-%d", sandbox, time.Now().UnixNano()),
			Labels: map[string]string{benchLabel: sandbox},
		},
		Spec: v1alpha1.TaskSpec{SandboxRef: sandbox, Steps: []v1alpha1.TaskStep{
			{Name: "echo", Type: v1alpha1.StepCommand, Command: []string{"echo", "hello"}},
		}},
	}
	done := make(chan *v1alpha1.Task, 1)
	t.mu.Lock()
	t.finished[task.Name] = done
	t.mu.Unlock()
	start := time.Now()
	if _, err := t.client.ArlV1alpha1().Tasks(namespace).Create(ctx, task, metav1.CreateOptions{}); err != nil {
		return 0, fmt.Errorf("create task: %w", err)
	}
	select {
	case finished := <-done:
		if finished.Status.State != v1alpha1.TaskSucceeded || strings.TrimSpace(finished.Status.Stdout) != "hello" {
			return 0, fmt.Errorf("task %s ended %s with output %q: %s", task.Name,
				finished.Status.State, finished.Status.Stdout, finished.Status.Message)
		}
		return time.Since(start), nil
	case <-time.After(patience):
		return 0, fmt.Errorf("task %s has not ended within %s", task.Name, patience)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
