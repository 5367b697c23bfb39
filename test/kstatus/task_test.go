package kstatus

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/space"
)

// TestTasks follows tasks through their lives: not done from the answer to the create on, then
// done or failed.
func TestTasks(t *testing.T) {
	s := newSpace(t)
	pool := &v1alpha1.WarmPool{ObjectMeta: metav1.ObjectMeta{Name: "pool"}, Spec: v1alpha1.WarmPoolSpec{Replicas: ptr.To[int32](2)}}
	pool.Spec.Template.Spec.Containers = []corev1.Container{{Name: "executor", Image: "host"}}
	s.FillPool(pool)
	s.ReadySandbox("box", "pool")

	want(t, "a task of a sandbox that is missing", s.CreateTask(space.TaskIn("missing", "early", space.Shell("step", "true"))), "Task", status.InProgressStatus)
	created := s.CreateTask(space.TaskIn("box", "runs", space.Shell("step", "until test -e go; do sleep 0.05; done")))
	want(t, "a new task", created, "Task", status.InProgressStatus)
	for _, condition := range created.Status.Conditions {
		if condition.ObservedGeneration != 0 {
			t.Errorf("nobody has observed the new task, and its condition %s says %d", condition.Type, condition.ObservedGeneration)
		}
	}
	want(t, "a running task", s.AwaitRunning("runs"), "Task", status.InProgressStatus)
	behind := s.CreateTask(space.TaskIn("box", "behind", space.Shell("step", "exit 3")))
	want(t, "a task that waits", behind, "Task", status.InProgressStatus)

	s.ReadySandbox("other", "pool")
	done := s.Succeed(space.TaskIn("other", "succeeds", space.Shell("step", "true")))
	want(t, "a task that succeeded", done, "Task", status.CurrentStatus)
	failed := s.Perform(space.TaskIn("other", "fails", space.Shell("step", "exit 3")))
	want(t, "a task that failed", failed, "Task", status.FailedStatus)
	want(t, "a task whose sandbox never came", s.AwaitEnd("early"), "Task", status.FailedStatus)
}
