package execute_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

// TestARetainedTaskIsKept lets a year pass.
func TestARetainedTaskIsKept(t *testing.T) {
	h, _ := frozenBox(t, nil)
	task := schedulertest.Task("kept", "box")
	task.Spec.RetentionPolicy = v1alpha1.RetentionRetain
	h.CreateTask(task)
	h.CreateTask(schedulertest.Task("other", "box"))
	h.WaitState("kept", v1alpha1.TaskSucceeded)
	h.WaitState("other", v1alpha1.TaskSucceeded)
	h.Pass(365 * 24 * time.Hour)
	schedulertest.Gone(h, "other", tasks(h).Get)
	h.Restart()
	h.WaitState("kept", v1alpha1.TaskSucceeded)
}

// TestRetentionBySize has tasks end that are too large together: the oldest go, except for one that
// is to be retained. A restart counts the same.
func TestRetentionBySize(t *testing.T) {
	h := schedulertest.New(t)
	h.Configure(func(c *scheduler.Config) { c.TaskRetentionBytes = 50_000 })
	ready(t, h)
	text := strings.Repeat("x", 8_000)
	create := func(i int, policy v1alpha1.RetentionPolicy) {
		task := schedulertest.Task(fmt.Sprintf("t%d", i), "box", text)
		task.Spec.RetentionPolicy = policy
		h.CreateTask(task)
		h.WaitState(task.Name, v1alpha1.TaskSucceeded)
	}
	create(0, v1alpha1.RetentionRetain)
	// Each is of about 16 KB: its command, and what it wrote.
	for i := range 3 {
		create(1+i, v1alpha1.RetentionDelete)
	}
	h.Restart()
	create(4, v1alpha1.RetentionDelete)
	schedulertest.Gone(h, "t1", tasks(h).Get)
	create(5, v1alpha1.RetentionDelete)
	schedulertest.Gone(h, "t2", tasks(h).Get)
	list, err := tasks(h).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for i := range list.Items {
		left = append(left, list.Items[i].Name)
	}
	if got := strings.Join(left, " "); len(left) != 4 || !strings.Contains(got, "t0") || !strings.Contains(got, "t3") {
		t.Errorf("left are %s", got)
	}
}
