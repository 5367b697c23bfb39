package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/space"
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

// Objects that other tests have, too.
var (
	sandboxOf = space.SandboxOf
	taskIn    = space.TaskIn
	command   = space.Command
	shell     = space.Shell
	ended     = space.Ended
	outline   = space.Outline
)

func wantSucceeded(t *testing.T, task *v1alpha1.Task) {
	t.Helper()
	if task.Status.State != v1alpha1.TaskSucceeded {
		t.Fatalf("task %s should have succeeded and is %s", task.Name, outline(task))
	}
}
