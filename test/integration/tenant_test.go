package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	client "arl.io/arl/pkg/generated/clientset/versioned/typed/arl/v1alpha1"
)

// Options of requests that ask for nothing special.
var (
	createNow  = metav1.CreateOptions{}
	updateNow  = metav1.UpdateOptions{}
	patchNow   = metav1.PatchOptions{}
	deleteNow  = metav1.DeleteOptions{}
	getNow     = metav1.GetOptions{}
	everything = metav1.ListOptions{}
)

// tenant is a namespace of a server in which one test works. Its objects, and
// so its pods, go at the test's end.
type tenant struct {
	t         *testing.T
	server    *server
	namespace string
}

func newTenant(t *testing.T, s *server) *tenant {
	t.Helper()
	n := &tenant{t: t, server: s, namespace: "it-" + rand.String(8)}
	t.Cleanup(func() {
		if !s.running {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := n.empty(ctx); err != nil {
			t.Errorf("empty namespace %s: %v", n.namespace, err)
		}
	})
	return n
}

// empty deletes everything in the namespace.
func (n *tenant) empty(ctx context.Context) error {
	return errors.Join(
		n.tasks().DeleteCollection(ctx, deleteNow, everything),
		n.pools().DeleteCollection(ctx, deleteNow, everything),
		n.sandboxes().DeleteCollection(ctx, deleteNow, everything),
	)
}

func (n *tenant) pools() client.WarmPoolInterface {
	return n.server.client.ArlV1alpha1().WarmPools(n.namespace)
}

func (n *tenant) sandboxes() client.SandboxInterface {
	return n.server.client.ArlV1alpha1().Sandboxes(n.namespace)
}

func (n *tenant) tasks() client.TaskInterface {
	return n.server.client.ArlV1alpha1().Tasks(n.namespace)
}

// hostPool is a pool of pods that are this machine's own files.
func hostPool(name string, replicas int32) *v1alpha1.WarmPool {
	return &v1alpha1.WarmPool{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.WarmPoolSpec{
			Replicas: ptr.To(replicas),
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "executor", Image: "host"}},
			}},
		},
	}
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

// shell is a step that runs a script.
func shell(name, script string) v1alpha1.TaskStep {
	return v1alpha1.TaskStep{Name: name, Type: v1alpha1.StepCommand, Command: []string{"sh", "-c", script}}
}

// write is a step that writes a file.
func write(name, path, content string) v1alpha1.TaskStep {
	return v1alpha1.TaskStep{Name: name, Type: v1alpha1.StepFilePatch, Path: path, Content: &content}
}

// patch is a step that patches a file.
func patch(name, path, diff string) v1alpha1.TaskStep {
	return v1alpha1.TaskStep{Name: name, Type: v1alpha1.StepFilePatch, Path: path, Patch: &diff}
}

func (n *tenant) createPool(pool *v1alpha1.WarmPool) *v1alpha1.WarmPool {
	n.t.Helper()
	created, err := n.pools().Create(n.t.Context(), pool, createNow)
	if err != nil {
		n.t.Fatalf("create pool %s: %v", pool.Name, err)
	}
	return created
}

// fillPool creates a pool and waits until all its pods are ready.
func (n *tenant) fillPool(pool *v1alpha1.WarmPool) {
	n.t.Helper()
	n.createPool(pool)
	n.awaitPool(pool.Name, *pool.Spec.Replicas)
}

// awaitPool waits until a pool has just so many idle pods, by a status that
// counts every sandbox that has a pod by now: an older one may name as idle what
// a sandbox has taken since, and miss the pod that is started in its place.
func (n *tenant) awaitPool(name string, ready int32) {
	n.t.Helper()
	eventually(n.t, fmt.Sprintf("pool %s with %d ready pods", name, ready), func(ctx context.Context) error {
		pool, err := n.pools().Get(ctx, name, getNow)
		if err != nil {
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
		if got := pool.Status; got.ReadyReplicas != ready || got.Replicas != ready || got.AllocatedReplicas != allocated {
			return fmt.Errorf("status is %+v with %d sandboxes that have a pod", got, allocated)
		}
		return nil
	})
}

func (n *tenant) createSandbox(sandbox *v1alpha1.Sandbox) *v1alpha1.Sandbox {
	n.t.Helper()
	created, err := n.sandboxes().Create(n.t.Context(), sandbox, createNow)
	if err != nil {
		n.t.Fatalf("create sandbox %s: %v", sandbox.Name, err)
	}
	return created
}

// awaitSandbox waits until a sandbox is in a phase.
func (n *tenant) awaitSandbox(name string, phase v1alpha1.SandboxPhase) *v1alpha1.Sandbox {
	n.t.Helper()
	var sandbox *v1alpha1.Sandbox
	eventually(n.t, fmt.Sprintf("sandbox %s %s", name, phase), func(ctx context.Context) (err error) {
		if sandbox, err = n.sandboxes().Get(ctx, name, getNow); err != nil {
			return err
		}
		if sandbox.Status.Phase != phase {
			return fmt.Errorf("status is %+v", sandbox.Status)
		}
		return nil
	})
	return sandbox
}

// readySandboxes makes a pool with a pod for each name, and a sandbox of each
// name that has one.
func (n *tenant) readySandboxes(names ...string) {
	n.t.Helper()
	pool := hostPool("pool", int32(len(names)))
	pool.Spec.MaxPods = ptr.To(int32(len(names)))
	n.createPool(pool)
	for _, name := range names {
		n.createSandbox(sandboxOf(name, pool.Name))
	}
	for _, name := range names {
		n.awaitSandbox(name, v1alpha1.SandboxReady)
	}
}

// awaitGone waits until a sandbox is no more.
func (n *tenant) awaitGone(sandbox string) {
	n.t.Helper()
	eventually(n.t, "sandbox "+sandbox+" gone", func(ctx context.Context) error {
		got, err := n.sandboxes().Get(ctx, sandbox, getNow)
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		}
		return fmt.Errorf("it is there: %+v", got.Status)
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

// awaitTask waits until accept says nil of a task.
func (n *tenant) awaitTask(name, what string, accept func(*v1alpha1.Task) error) *v1alpha1.Task {
	n.t.Helper()
	var task *v1alpha1.Task
	eventually(n.t, "task "+name+" "+what, func(ctx context.Context) (err error) {
		if task, err = n.tasks().Get(ctx, name, getNow); err != nil {
			return err
		}
		return accept(task)
	})
	return task
}

// awaitEnd waits until a task has ended.
func (n *tenant) awaitEnd(name string) *v1alpha1.Task {
	n.t.Helper()
	return n.awaitTask(name, "ended", func(task *v1alpha1.Task) error {
		if !ended(task) {
			return fmt.Errorf("status is %s", describe(task))
		}
		return nil
	})
}

// awaitRunning waits until a task runs.
func (n *tenant) awaitRunning(name string) *v1alpha1.Task {
	n.t.Helper()
	return n.awaitTask(name, "running", func(task *v1alpha1.Task) error {
		if task.Status.State != v1alpha1.TaskRunning {
			return fmt.Errorf("status is %s", describe(task))
		}
		return nil
	})
}

// perform creates a task and waits until it has ended.
func (n *tenant) perform(task *v1alpha1.Task) *v1alpha1.Task {
	n.t.Helper()
	n.createTask(task)
	return n.awaitEnd(task.Name)
}

// succeed performs a task that must succeed.
func (n *tenant) succeed(task *v1alpha1.Task) *v1alpha1.Task {
	n.t.Helper()
	done := n.perform(task)
	if done.Status.State != v1alpha1.TaskSucceeded {
		n.t.Fatalf("task %s should have succeeded: %s", task.Name, describe(done))
	}
	return done
}

// output runs a script in a sandbox and returns what it wrote.
func (n *tenant) output(sandbox, script string) string {
	n.t.Helper()
	return n.succeed(taskIn(sandbox, "output-"+rand.String(8), shell("script", script))).Status.Stdout
}

func ended(task *v1alpha1.Task) bool {
	return task.Status.State == v1alpha1.TaskSucceeded || task.Status.State == v1alpha1.TaskFailed
}

// wantFailed fails the test unless a task failed for the reason and by the class.
func (n *tenant) wantFailed(task *v1alpha1.Task, reason string, class v1alpha1.FailureClass) {
	n.t.Helper()
	got := task.Status
	if got.State != v1alpha1.TaskFailed || got.Reason != reason || got.FailureClass != class {
		n.t.Errorf("task %s is %s, want Failed, %s, %s", task.Name, describe(task), reason, class)
	}
}

// describe shows a task's status in one line, without what may be long.
func describe(task *v1alpha1.Task) string {
	var steps []string
	for _, step := range task.Status.Steps {
		steps = append(steps, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", step.Name, step.State, step.Reason, step.Message)))
	}
	s := task.Status
	return fmt.Sprintf("%s %s %s %q exit=%d attempts=%d steps=%q stderr=%.200q",
		s.State, s.Reason, s.FailureClass, s.Message, ptr.Deref(s.ExitCode, -1), s.Attempts, steps, s.Stderr)
}
