package execute_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

// TestAOneShotTaskWaitsForQuota has a quota without room for the sandbox, which there was when the task
// was created: the task says so and waits, across a restart too, and runs once there is room.
func TestAOneShotTaskWaitsForQuota(t *testing.T) {
	h := pooled(schedulertest.New(t))
	var full atomic.Bool
	full.Store(true)
	h.API.SetFault(func(r schedulertest.Request) error {
		if r.Verb == "create" && r.Resource == "sandboxes" && full.Load() {
			return apierrors.NewForbidden(v1alpha1.SchemeGroupVersion.WithResource("sandboxes").GroupResource(), "x",
				errors.New("exceeded quota: few, requested: count/sandboxes.arl.io=1, used: count/sandboxes.arl.io=2, limited: count/sandboxes.arl.io=2"))
		}
		return nil
	})
	h.CreateTask(oneShot("task"))
	waits := func(t *v1alpha1.Task) bool {
		return t.Status.State == v1alpha1.TaskPending && t.Status.Reason == v1alpha1.TaskReasonWaitingForSandbox &&
			strings.Contains(t.Status.Message, "exceeded quota: few")
	}
	h.WaitTask("task", waits)
	h.Restart()
	h.WaitTask("task", waits)
	full.Store(false)
	h.WaitState("task", v1alpha1.TaskSucceeded)
	noSandboxes(h)
}
