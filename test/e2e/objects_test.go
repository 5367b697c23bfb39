package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// busyPool is a pool of pods with the image of the tests, as a user would write
// it: nothing but the image is said.
func busyPool(name string, replicas int32) *v1alpha1.WarmPool {
	return &v1alpha1.WarmPool{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.WarmPoolSpec{
			Replicas: ptr.To(replicas),
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "executor", Image: testImage, ImagePullPolicy: corev1.PullNever}},
			}},
		},
	}
}

// cappedPool is a pool that starts no further pod while its pods are in use.
func cappedPool(name string, replicas int32) *v1alpha1.WarmPool {
	pool := busyPool(name, replicas)
	pool.Spec.MaxPods = ptr.To(replicas)
	return pool
}

// sandboxOf is a sandbox that stays until it is deleted.
func sandboxOf(name, pool string) *v1alpha1.Sandbox {
	return &v1alpha1.Sandbox{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.SandboxSpec{PoolRef: pool, KeepAlive: true},
	}
}

// taskIn is a task in a sandbox.
func taskIn(sandbox, name string, steps ...v1alpha1.TaskStep) *v1alpha1.Task {
	return &v1alpha1.Task{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.TaskSpec{SandboxRef: sandbox, Steps: steps},
	}
}

// command is a step that runs a program.
func command(name string, args ...string) v1alpha1.TaskStep {
	return v1alpha1.TaskStep{Name: name, Type: v1alpha1.StepCommand, Command: args}
}

// shell is a step that runs a script.
func shell(name, script string) v1alpha1.TaskStep { return command(name, "sh", "-c", script) }

func (n *tenant) createPool(pool *v1alpha1.WarmPool) *v1alpha1.WarmPool {
	n.t.Helper()
	created, err := n.pools().Create(n.t.Context(), pool, createNow)
	if err != nil {
		n.t.Fatalf("create pool %s: %v", pool.Name, err)
	}
	return created
}

// fillPool creates a pool and waits until all its pods are ready.
func (n *tenant) fillPool(pool *v1alpha1.WarmPool) *v1alpha1.WarmPool {
	n.t.Helper()
	n.createPool(pool)
	return n.awaitPool(pool.Name, *pool.Spec.Replicas)
}

// awaitPool waits until a pool has just so many idle pods, all ready, by a
// status that counts all sandboxes which have a pod.
func (n *tenant) awaitPool(name string, ready int32) (pool *v1alpha1.WarmPool) {
	n.t.Helper()
	eventually(n.t, fmt.Sprintf("pool %s has %d ready pods", name, ready), func(ctx context.Context) (err error) {
		if pool, err = n.pools().Get(ctx, name, getNow); err != nil {
			return err
		}
		sandboxes, err := n.sandboxes().List(ctx, metav1.ListOptions{FieldSelector: "spec.poolRef=" + name})
		if err != nil {
			return err
		}
		allocated := int32(0)
		for _, sandbox := range sandboxes.Items {
			if phase := sandbox.Status.Phase; phase == v1alpha1.SandboxReady || phase == v1alpha1.SandboxBound {
				allocated++
			}
		}
		if s := pool.Status; s.Replicas != ready || s.ReadyReplicas != ready || s.AllocatedReplicas != allocated {
			return fmt.Errorf("%d sandboxes have a pod, and the pool's status is %+v", allocated, s)
		}
		return nil
	})
	return pool
}

func (n *tenant) createSandbox(sandbox *v1alpha1.Sandbox) *v1alpha1.Sandbox {
	n.t.Helper()
	created, err := n.sandboxes().Create(n.t.Context(), sandbox, createNow)
	if err != nil {
		n.t.Fatalf("create sandbox %s: %v", sandbox.Name, err)
	}
	return created
}

// readySandbox creates a sandbox, which must be Ready in the answer itself.
func (n *tenant) readySandbox(name, pool string) *v1alpha1.Sandbox {
	n.t.Helper()
	created := n.createSandbox(sandboxOf(name, pool))
	if s := created.Status; s.Phase != v1alpha1.SandboxReady || s.PodName == "" {
		n.t.Fatalf("sandbox %s was created with the status %+v, want it to be Ready at once", name, s)
	}
	return created
}

// awaitSandbox waits until a sandbox is in a phase.
func (n *tenant) awaitSandbox(name string, phase v1alpha1.SandboxPhase) (sandbox *v1alpha1.Sandbox) {
	n.t.Helper()
	eventually(n.t, fmt.Sprintf("sandbox %s is %s", name, phase), func(ctx context.Context) (err error) {
		if sandbox, err = n.sandboxes().Get(ctx, name, getNow); err != nil {
			return err
		}
		if sandbox.Status.Phase != phase {
			return fmt.Errorf("its status is %+v", sandbox.Status)
		}
		return nil
	})
	return sandbox
}

// awaitNoSandbox waits until a sandbox is gone.
func (n *tenant) awaitNoSandbox(name string) {
	n.t.Helper()
	eventually(n.t, "sandbox "+name+" is gone", func(ctx context.Context) error {
		got, err := n.sandboxes().Get(ctx, name, getNow)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("its status is %+v", got.Status)
		}
		return err
	})
}

func (n *tenant) createTask(task *v1alpha1.Task) *v1alpha1.Task {
	n.t.Helper()
	created, err := n.tasks().Create(n.t.Context(), task, createNow)
	if err != nil {
		n.t.Fatalf("create task %s: %v", task.Name, err)
	}
	return created
}

// awaitEnd waits until a task has ended.
func (n *tenant) awaitEnd(name string) (task *v1alpha1.Task) {
	n.t.Helper()
	eventually(n.t, "task "+name+" has ended", func(ctx context.Context) (err error) {
		if task, err = n.tasks().Get(ctx, name, getNow); err != nil {
			return err
		}
		if !ended(task) {
			return fmt.Errorf("it is %s", outline(task))
		}
		return nil
	})
	return task
}

func ended(task *v1alpha1.Task) bool {
	return task.Status.State == v1alpha1.TaskSucceeded || task.Status.State == v1alpha1.TaskFailed
}

// perform creates a task and waits until it has ended.
func (n *tenant) perform(task *v1alpha1.Task) *v1alpha1.Task {
	n.t.Helper()
	n.createTask(task)
	return n.awaitEnd(task.Name)
}

// output runs a script in a sandbox, which must succeed, and returns what it wrote.
func (n *tenant) output(sandbox, script string) string {
	n.t.Helper()
	task := n.perform(taskIn(sandbox, "output-"+rand.String(8), shell("script", script)))
	wantSucceeded(n.t, task)
	return task.Status.Stdout
}

func wantSucceeded(t *testing.T, task *v1alpha1.Task) {
	t.Helper()
	if task.Status.State != v1alpha1.TaskSucceeded {
		t.Fatalf("task %s should have succeeded and is %s", task.Name, outline(task))
	}
}

// outline is a task's status in one line, without what may be long.
func outline(task *v1alpha1.Task) string {
	s := task.Status
	text := fmt.Sprintf("%s %s %s %q exit=%d attempts=%d stderr=%.200q",
		s.State, s.Reason, s.FailureClass, s.Message, ptr.Deref(s.ExitCode, -1), s.Attempts, s.Stderr)
	for _, step := range s.Steps {
		text += fmt.Sprintf(" [%s %s %s %s]", step.Name, step.State, step.Reason, step.Message)
	}
	return text
}
