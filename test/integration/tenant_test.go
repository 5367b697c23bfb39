package integration

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/generated/clientset/versioned"
	"arl.io/arl/test/space"
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

// Objects and waits that other tests have, too.
var (
	waits      = space.Waiter{Patience: patience, Pause: pollInterval}
	eventually = waits.Eventually
	sandboxOf  = space.SandboxOf
	taskIn     = space.TaskIn
	shell      = space.Shell
	write      = space.Write
	ended      = space.Ended
	describe   = space.Outline
)

// tenant is a namespace of a server in which one test works. Its objects, and
// so its pods, go at the test's end.
type tenant struct {
	*space.Space
	server *server
}

func newTenant(t *testing.T, s *server) *tenant {
	t.Helper()
	n := tenantIn(t, s, "it-"+rand.String(8))
	t.Cleanup(func() {
		if !s.running {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := n.empty(ctx); err != nil {
			t.Errorf("empty namespace %s: %v", n.Namespace, err)
		}
	})
	return n
}

// tenantIn is a tenant of which nothing goes at the test's end.
func tenantIn(t *testing.T, s *server, namespace string) *tenant {
	client := func() versioned.Interface { return s.client }
	return &tenant{server: s, Space: &space.Space{T: t, Namespace: namespace, Client: client, Waiter: waits}}
}

// empty deletes everything in the namespace.
func (n *tenant) empty(ctx context.Context) error {
	return errors.Join(
		n.Tasks().DeleteCollection(ctx, deleteNow, everything),
		n.Pools().DeleteCollection(ctx, deleteNow, everything),
		n.Sandboxes().DeleteCollection(ctx, deleteNow, everything),
	)
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

// barrenPool is a pool that never has a pod: its image is nowhere.
func barrenPool(name string) *v1alpha1.WarmPool {
	pool := hostPool(name, 0)
	pool.Spec.Template.Spec.Containers[0].Image = "oci-archive:/nowhere"
	return pool
}

// patch is a step that patches a file.
func patch(name, path, diff string) v1alpha1.TaskStep {
	return v1alpha1.TaskStep{Name: name, Type: v1alpha1.StepFilePatch, Path: path, Patch: &diff}
}

// readySandboxes makes a pool with a pod for each name, and a sandbox of each
// name that has one.
func (n *tenant) readySandboxes(names ...string) {
	n.T.Helper()
	pool := hostPool("pool", int32(len(names)))
	pool.Spec.MaxPods = ptr.To(int32(len(names)))
	n.CreatePool(pool)
	for _, name := range names {
		n.CreateSandbox(sandboxOf(name, pool.Name))
	}
	for _, name := range names {
		n.AwaitSandbox(name, v1alpha1.SandboxReady)
	}
}

// wantFailed fails the test unless a task failed for the reason and by the class.
func (n *tenant) wantFailed(task *v1alpha1.Task, reason string, class v1alpha1.FailureClass) {
	n.T.Helper()
	got := task.Status
	if got.State != v1alpha1.TaskFailed || got.Reason != reason || got.FailureClass != class {
		n.T.Errorf("task %s is %s, want Failed, %s, %s", task.Name, describe(task), reason, class)
	}
}
