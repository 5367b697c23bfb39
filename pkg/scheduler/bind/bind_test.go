package bind_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	client "arl.io/arl/pkg/generated/clientset/versioned/typed/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sandboxes(h *schedulertest.Harness) client.SandboxInterface {
	return h.API.ArlV1alpha1().Sandboxes(schedulertest.Namespace)
}

func remove(t *testing.T, h *schedulertest.Harness, name string) {
	t.Helper()
	if err := sandboxes(h).Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// full returns a running harness with a pool that can have one pod, which "holder" has.
func full(t *testing.T, h *schedulertest.Harness) *schedulertest.Harness {
	t.Helper()
	h.Start()
	pool := schedulertest.Pool("pool", 1)
	pool.Spec.MaxPods = ptr.To[int32](1)
	h.CreatePool(pool)
	h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool { return p.Status.ReadyReplicas == 1 })
	h.CreateSandbox(schedulertest.Sandbox("holder", "pool"))
	h.WaitPhase("holder", v1alpha1.SandboxReady)
	return h
}

func TestPodsGoRoundInOrder(t *testing.T) {
	h := full(t, schedulertest.New(t))
	for _, name := range []string{"first", "second", "urgent"} {
		box := schedulertest.Sandbox(name, "pool")
		if name == "urgent" {
			box.Spec.Priority = 1
		}
		h.CreateSandbox(box)
	}
	for i, name := range []string{"urgent", "first", "second"} {
		told := h.WaitSandbox(name, func(s *v1alpha1.Sandbox) bool {
			return s.Status.QueuePosition != nil && *s.Status.QueuePosition == int32(i+1)
		})
		if told.Status.Reason != v1alpha1.SandboxReasonMaxPodsReached || told.Status.Phase != v1alpha1.SandboxPending || told.Status.Message == "" {
			t.Errorf("%s was told %+v", name, told.Status)
		}
	}
	h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool { return p.Status.PendingSandboxes == 3 })
	before, seen := "holder", map[string]bool{}
	for _, name := range []string{"urgent", "first", "second"} {
		remove(t, h, before)
		got := h.WaitPhase(name, v1alpha1.SandboxReady)
		if got.Status.QueuePosition != nil || !meta.IsStatusConditionTrue(got.Status.Conditions, v1alpha1.SandboxConditionReady) {
			t.Errorf("%s is ready and says %+v", name, got.Status)
		}
		if seen[got.Status.PodName] {
			t.Errorf("%s has a pod that was used", name)
		}
		seen[got.Status.PodName], before = true, name
	}
}

func TestAPoolThatComesLater(t *testing.T) {
	h := schedulertest.New(t).Start()
	h.CreateSandbox(schedulertest.Sandbox("early", "pool"))
	told := h.WaitSandbox("early", func(s *v1alpha1.Sandbox) bool { return s.Status.Reason == v1alpha1.SandboxReasonPoolNotFound })
	if told.Status.Phase != v1alpha1.SandboxPending || !strings.Contains(told.Status.Message, `"pool"`) || told.Status.QueuePosition != nil {
		t.Errorf("told %+v", told.Status)
	}
	h.CreatePool(schedulertest.Pool("pool", 1))
	h.WaitPhase("early", v1alpha1.SandboxReady)
}

func TestADeletedPoolLeavesItsSandboxes(t *testing.T) {
	h := full(t, schedulertest.New(t))
	h.CreateSandbox(schedulertest.Sandbox("waits", "pool"))
	h.WaitSandbox("waits", func(s *v1alpha1.Sandbox) bool { return s.Status.QueuePosition != nil })
	if err := h.API.ArlV1alpha1().WarmPools(schedulertest.Namespace).Delete(context.Background(), "pool", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	h.WaitSandbox("waits", func(s *v1alpha1.Sandbox) bool {
		return s.Status.Reason == v1alpha1.SandboxReasonPoolTerminating && s.Status.QueuePosition == nil
	})
	h.WaitPhase("holder", v1alpha1.SandboxReady)
	h.CreateTask(schedulertest.Task("goes-on", "holder"))
	h.WaitState("goes-on", v1alpha1.TaskSucceeded)
	remove(t, h, "holder")
	noPods(h)
}

func noPods(h *schedulertest.Harness) {
	h.TB.Helper()
	h.Eventually("all pods are gone", func() error {
		if pods := h.Runtime.Pods(); len(pods) > 0 {
			return fmt.Errorf("there are %d", len(pods))
		}
		return nil
	})
}

func TestAllocationTimeout(t *testing.T) {
	tests := map[string]struct {
		own, pools *int32
		wait       time.Duration
	}{
		"its own":    {ptr.To[int32](10), ptr.To[int32](100), 10 * time.Second},
		"the pool's": {nil, ptr.To[int32](20), 20 * time.Second},
		"none":       {ptr.To[int32](0), nil, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := schedulertest.NewFrozen(t)
			h.Runtime.Manual(true)
			h.Start()
			pool := schedulertest.Pool("pool", 0)
			pool.Spec.AllocationTimeoutSeconds = test.pools
			h.CreatePool(pool)
			box := schedulertest.Sandbox("box", "pool")
			box.Spec.AllocationTimeoutSeconds = test.own
			h.CreateSandbox(box)
			if test.wait > 0 {
				settle(h, "box")
				h.Pass(test.wait)
				if got := h.WaitSandbox("box", func(*v1alpha1.Sandbox) bool { return true }); got.Status.Phase == v1alpha1.SandboxFailed {
					t.Fatalf("it failed before the timeout was over")
				}
				h.Pass(2 * time.Second)
			}
			got := h.WaitPhase("box", v1alpha1.SandboxFailed)
			if got.Status.Reason != v1alpha1.SandboxReasonAllocationTimeout || !strings.Contains(got.Status.Message, `"pool"`) {
				t.Errorf("it says %+v", got.Status)
			}
		})
	}
}

// settle lets the scheduler see a sandbox while time stands still: the first round over the queue tells it.
func settle(h *schedulertest.Harness, name string) {
	h.TB.Helper()
	h.Eventually(name+" is seen", func() error {
		h.Clock.Step(20 * time.Millisecond)
		got, err := sandboxes(h).Get(context.Background(), name, metav1.GetOptions{})
		if err == nil && got.Status.ObservedGeneration == 0 {
			err = fmt.Errorf("not observed yet")
		}
		return err
	})
}

func TestInsufficientResources(t *testing.T) {
	h := schedulertest.New(t).Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	h.WaitIdle("pool", 1)
	box := schedulertest.Sandbox("box", "pool")
	box.Spec.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8")}}
	h.CreateSandbox(box)
	got := h.WaitPhase("box", v1alpha1.SandboxFailed)
	if got.Status.Reason != v1alpha1.SandboxReasonInsufficientResources || !strings.Contains(got.Status.Message, "cpu: 8 asked") {
		t.Errorf("it says %+v", got.Status)
	}
}

func TestAPodThatDiesFailsItsSandbox(t *testing.T) {
	for _, how := range []string{"fails", "vanishes", "vanishes while the server is down"} {
		t.Run(how, func(t *testing.T) {
			h := full(t, schedulertest.New(t))
			pod := h.WaitPhase("holder", v1alpha1.SandboxReady).Status.PodName
			switch how {
			case "fails":
				h.Runtime.Fail(pod, podruntime.ReasonExited, "too greedy")
			case "vanishes":
				h.Runtime.Lose(pod)
			default:
				h.Stop()
				h.Runtime.Lose(pod)
				h.Start()
			}
			got := h.WaitPhase("holder", v1alpha1.SandboxFailed)
			if got.Status.Reason != v1alpha1.SandboxReasonPodLost || got.Status.PodName != pod || !strings.Contains(got.Status.Message, pod) {
				t.Errorf("it says %+v", got.Status)
			}
			if meta.IsStatusConditionTrue(got.Status.Conditions, v1alpha1.SandboxConditionReady) {
				t.Error("its condition says that it is ready")
			}
			h.WaitIdle("pool", 1)
		})
	}
}

func TestASandboxIsDeletedWhenItsTimeIsOver(t *testing.T) {
	second := func(n int32) *int32 { return &n }
	tests := map[string]struct {
		change func(*v1alpha1.Sandbox)
		pool   func(*v1alpha1.WarmPool)
		after  time.Duration
	}{
		"idle, by default":            {func(s *v1alpha1.Sandbox) { s.Spec.KeepAlive = false }, nil, time.Minute},
		"idle, its own":               {func(s *v1alpha1.Sandbox) { s.Spec.IdleTimeoutSeconds = second(7) }, nil, 7 * time.Second},
		"idle, the pool's":            {func(s *v1alpha1.Sandbox) { s.Spec.KeepAlive = false }, func(p *v1alpha1.WarmPool) { p.Spec.IdleTimeoutSeconds = second(9) }, 9 * time.Second},
		"its lifetime, its own":       {func(s *v1alpha1.Sandbox) { s.Spec.MaxLifetimeSeconds = second(11) }, nil, 11 * time.Second},
		"its lifetime, of the pool's": {func(*v1alpha1.Sandbox) {}, func(p *v1alpha1.WarmPool) { p.Spec.MaxLifetimeSeconds = second(12) }, 12 * time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := schedulertest.NewFrozen(t).Start()
			pool := schedulertest.Pool("pool", 1)
			if test.pool != nil {
				test.pool(pool)
			}
			h.CreatePool(pool)
			h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool {
				h.Clock.Step(10 * time.Millisecond)
				return p.Status.ReadyReplicas == 1
			})
			box := schedulertest.Sandbox("box", "pool")
			test.change(box)
			h.CreateSandbox(box)
			h.WaitPhase("box", v1alpha1.SandboxReady)
			// A task that has ended is the last sign of life.
			h.CreateTask(schedulertest.Task("echo", "box"))
			h.WaitState("echo", v1alpha1.TaskSucceeded)
			h.Pass(test.after - time.Millisecond)
			h.WaitPhase("box", v1alpha1.SandboxReady)
			// The task's end may have been noted a while after it was stored.
			h.Eventually("the sandbox is gone", func() error {
				h.Clock.Step(10 * time.Millisecond)
				if _, err := sandboxes(h).Get(context.Background(), "box", metav1.GetOptions{}); err == nil {
					return errors.New("it is there")
				}
				return nil
			})
			h.Eventually("its pod is gone", func() error {
				if n := len(h.Runtime.Pods()); n != 1 {
					return fmt.Errorf("there are %d pods", n)
				}
				return nil
			})
		})
	}
}

func TestASandboxIsNotIdleWhileATaskRuns(t *testing.T) {
	h := schedulertest.NewFrozen(t)
	h.Runtime.Behave = schedulertest.Hang
	h.Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool {
		h.Clock.Step(10 * time.Millisecond)
		return p.Status.ReadyReplicas == 1
	})
	box := schedulertest.Sandbox("box", "pool")
	box.Spec.IdleTimeoutSeconds = ptr.To[int32](5)
	h.CreateSandbox(box)
	h.CreateTask(schedulertest.Task("long", "box"))
	h.WaitTask("long", func(task *v1alpha1.Task) bool {
		h.Clock.Step(10 * time.Millisecond)
		return task.Status.State == v1alpha1.TaskRunning
	})
	h.Pass(time.Minute)
	h.WaitPhase("box", v1alpha1.SandboxReady)
	task, err := h.API.ArlV1alpha1().Tasks(schedulertest.Namespace).Get(context.Background(), "long", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	task.Spec.Cancel = true
	if _, err := h.API.ArlV1alpha1().Tasks(schedulertest.Namespace).Update(context.Background(), task, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	h.WaitState("long", v1alpha1.TaskFailed)
	noted := h.WaitSandbox("box", func(s *v1alpha1.Sandbox) bool {
		h.Clock.Step(50 * time.Millisecond)
		return s.Status.LastTaskTime != nil
	})
	if noted.Status.LastTaskTime.Before(noted.Status.AllocatedTime) {
		t.Errorf("the last task ended before the pod was allocated: %+v", noted.Status)
	}
	h.Pass(6 * time.Second)
	schedulertest.Gone(h, "box", sandboxes(h).Get)
}

func TestIdleTimeSurvivesARestart(t *testing.T) {
	h := schedulertest.NewFrozen(t).Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool {
		h.Clock.Step(10 * time.Millisecond)
		return p.Status.ReadyReplicas == 1
	})
	box := schedulertest.Sandbox("box", "pool")
	box.Spec.KeepAlive = false
	h.CreateSandbox(box)
	h.Pass(40 * time.Second)
	h.CreateTask(schedulertest.Task("echo", "box"))
	h.WaitState("echo", v1alpha1.TaskSucceeded)
	h.Restart()
	h.Pass(40 * time.Second)
	h.WaitPhase("box", v1alpha1.SandboxReady)
	h.Pass(21 * time.Second)
	schedulertest.Gone(h, "box", sandboxes(h).Get)
}

// TestAFailedSandboxIsKeptForAWhile counts the while from the failure, however often the server is
// restarted meanwhile.
func TestAFailedSandboxIsKeptForAWhile(t *testing.T) {
	h := schedulertest.NewFrozen(t)
	h.Runtime.Manual(true)
	h.Configure(func(c *scheduler.Config) { c.TaskRetention = time.Hour }).Start()
	h.CreatePool(schedulertest.Pool("pool", 0))
	// Waiting is no part of it.
	for name, keep := range map[string]bool{"kept": true, "gone": false} {
		box := schedulertest.Sandbox(name, "pool")
		box.Spec.KeepAlive, box.Spec.AllocationTimeoutSeconds = keep, ptr.To[int32](1800)
		h.CreateSandbox(box)
		settle(h, name)
	}
	h.Pass(30*time.Minute + 2*time.Second)
	for _, name := range []string{"kept", "gone"} {
		got := h.WaitPhase(name, v1alpha1.SandboxFailed)
		if !meta.IsStatusConditionTrue(got.Status.Conditions, v1alpha1.ConditionStalled) ||
			meta.FindStatusCondition(got.Status.Conditions, v1alpha1.ConditionReconciling) != nil {
			t.Errorf("the conditions are %+v", got.Status.Conditions)
		}
	}
	for range 2 {
		h.Pass(25 * time.Minute)
		h.Restart()
		h.WaitPhase("gone", v1alpha1.SandboxFailed)
	}
	h.Pass(10 * time.Minute)
	schedulertest.Gone(h, "gone", sandboxes(h).Get)
	h.WaitPhase("kept", v1alpha1.SandboxFailed)
}

func TestAChangedSpecIsObserved(t *testing.T) {
	h := full(t, schedulertest.New(t))
	box := h.WaitPhase("holder", v1alpha1.SandboxReady)
	box.Spec.MaxConcurrentTasks = ptr.To[int32](4)
	if _, err := sandboxes(h).Update(context.Background(), box, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	h.WaitSandbox("holder", func(s *v1alpha1.Sandbox) bool { return s.Status.ObservedGeneration == 2 })
}

func TestASandboxWithAFinalizerLosesItsPodAtOnce(t *testing.T) {
	h := full(t, schedulertest.New(t))
	box := h.WaitPhase("holder", v1alpha1.SandboxReady)
	box.Finalizers = []string{"example.com/wait"}
	if _, err := sandboxes(h).Update(context.Background(), box, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	h.CreateSandbox(schedulertest.Sandbox("next", "pool"))
	remove(t, h, "holder")
	got := h.WaitPhase("next", v1alpha1.SandboxReady)
	if got.Status.PodName == box.Status.PodName {
		t.Error("the next sandbox has the same pod")
	}
}

// TestABindingThatCannotBeWritten has the write of a binding fail in several
// ways: the pod is given to somebody just once.
func TestABindingThatCannotBeWritten(t *testing.T) {
	tests := map[string]func(h *schedulertest.Harness) error{
		"conflict": func(*schedulertest.Harness) error {
			return apierrors.NewConflict(v1alpha1.SchemeGroupVersion.WithResource("sandboxes").GroupResource(), "next", fmt.Errorf("changed"))
		},
		"a full disk": func(*schedulertest.Harness) error { return apierrors.NewInternalError(fmt.Errorf("no space left")) },
	}
	for name, fault := range tests {
		t.Run(name, func(t *testing.T) {
			h := full(t, schedulertest.New(t))
			h.CreateSandbox(schedulertest.Sandbox("next", "pool"))
			h.WaitSandbox("next", func(s *v1alpha1.Sandbox) bool { return s.Status.QueuePosition != nil })
			failed := 0
			h.API.SetFault(func(r schedulertest.Request) error {
				if box, ok := r.Object.(*v1alpha1.Sandbox); ok && r.Subresource == "status" && box.Status.Phase == v1alpha1.SandboxReady && failed < 3 {
					failed++
					return fault(h)
				}
				return nil
			})
			remove(t, h, "holder")
			h.WaitPhase("next", v1alpha1.SandboxReady)
			if all, _ := h.Runtime.Created(); all != 2 {
				t.Errorf("%d pods were created, want 2", all)
			}
		})
	}
}

// TestASandboxDeletedWhileItIsBound frees the pod for the next.
func TestASandboxDeletedWhileItIsBound(t *testing.T) {
	h := full(t, schedulertest.New(t))
	for _, name := range []string{"doomed", "next"} {
		h.CreateSandbox(schedulertest.Sandbox(name, "pool"))
		h.WaitSandbox(name, func(s *v1alpha1.Sandbox) bool { return s.Status.QueuePosition != nil })
	}
	h.API.SetFault(func(r schedulertest.Request) error {
		box, ok := r.Object.(*v1alpha1.Sandbox)
		if ok && r.Subresource == "status" && box.Name == "doomed" && box.Status.Phase == v1alpha1.SandboxReady {
			h.API.SetFault(nil)
			h.API.Remove("sandboxes", "doomed")
		}
		return nil
	})
	remove(t, h, "holder")
	h.WaitPhase("next", v1alpha1.SandboxReady)
	if all, _ := h.Runtime.Created(); all != 2 {
		t.Errorf("%d pods were created, want 2: the one set aside is given to the next", all)
	}
}

func TestTheQueueSurvivesARestart(t *testing.T) {
	h := full(t, schedulertest.New(t))
	var names []string
	for i := range 5 {
		names = append(names, fmt.Sprintf("box-%d", i))
		h.CreateSandbox(schedulertest.Sandbox(names[i], "pool"))
	}
	for i, name := range names {
		h.WaitSandbox(name, func(s *v1alpha1.Sandbox) bool {
			return s.Status.QueuePosition != nil && *s.Status.QueuePosition == int32(i+1)
		})
	}
	h.Restart()
	var served []string
	before := "holder"
	for range names {
		remove(t, h, before)
		h.Eventually("another sandbox is ready", func() error {
			list, err := sandboxes(h).List(context.Background(), metav1.ListOptions{})
			if err != nil {
				return err
			}
			for _, box := range list.Items {
				if box.Status.Phase == v1alpha1.SandboxReady && box.Name != before {
					served, before = append(served, box.Name), box.Name
					return nil
				}
			}
			return fmt.Errorf("none is")
		})
	}
	if diff := cmp.Diff(names, served); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
