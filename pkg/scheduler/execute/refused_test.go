package execute_test

import (
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

// TestAStatusThatIsRefused has the server take only so much of the status of one task. The task
// ends as far as it can, and the next one of the sandbox runs.
func TestAStatusThatIsRefused(t *testing.T) {
	invalid := apierrors.NewInvalid(schema.GroupKind{Group: "arl.io", Kind: "Task"}, "task", field.ErrorList{})
	tests := map[string]struct {
		refuse func(status *v1alpha1.TaskStatus) error
		state  v1alpha1.TaskState
		says   string
	}{
		"all but the least": {func(status *v1alpha1.TaskStatus) error {
			if len(status.Steps) > 0 {
				return apierrors.NewRequestEntityTooLargeError("limit is 3145728")
			}
			return nil
		}, v1alpha1.TaskSucceeded, "left out"},
		"everything": {func(*v1alpha1.TaskStatus) error { return invalid }, v1alpha1.TaskPending, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h, _ := ready(t, schedulertest.New(t))
			h.API.SetFault(func(r schedulertest.Request) error {
				if task, ok := r.Object.(*v1alpha1.Task); ok && task.Name == "task" && r.Subresource == "status" {
					return test.refuse(&task.Status)
				}
				return nil
			})
			h.CreateTask(schedulertest.Task("task", "box"))
			h.CreateTask(schedulertest.Task("next", "box"))
			h.WaitState("next", v1alpha1.TaskSucceeded)
			got := h.WaitState("task", test.state).Status
			if !strings.Contains(got.Message, test.says) {
				t.Errorf("it says %+v", got)
			}
			h.API.SetFault(nil)
			if test.state == v1alpha1.TaskPending {
				// Its end is written when it is changed.
				cancel(t, h, "task")
				h.WaitState("task", v1alpha1.TaskSucceeded)
			}
		})
	}
}

// TestAnEditorThatIsAlwaysFirst has every write of the status meet a conflict for a while: it is
// given up and tried again, and the task ends.
func TestAnEditorThatIsAlwaysFirst(t *testing.T) {
	h, _ := ready(t, schedulertest.New(t))
	conflicts := 0
	h.API.SetFault(func(r schedulertest.Request) error {
		if r.Resource == "tasks" && r.Subresource == "status" && conflicts < 25 {
			conflicts++
			return apierrors.NewConflict(schema.GroupResource{Group: "arl.io", Resource: "tasks"}, "task", nil)
		}
		return nil
	})
	h.CreateTask(schedulertest.Task("task", "box"))
	h.WaitState("task", v1alpha1.TaskSucceeded)
}

// TestAOneShotTaskOfAMissingPool says what the author of the task can do: they have made no sandbox.
func TestAOneShotTaskOfAMissingPool(t *testing.T) {
	h := schedulertest.New(t).Start()
	h.CreateTask(oneShot("task"))
	s := h.WaitTask("task", func(t *v1alpha1.Task) bool { return strings.Contains(t.Status.Message, "PoolNotFound") }).Status
	if !strings.Contains(s.Message, `no warm pool "pool"`) || !strings.Contains(s.Message, "spec.poolRef") || strings.Contains(s.Message, "delete this sandbox") {
		t.Errorf("it says %s", s.Message)
	}
}
