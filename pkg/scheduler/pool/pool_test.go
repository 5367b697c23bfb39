package pool_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	client "arl.io/arl/pkg/generated/clientset/versioned/typed/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func pools(h *schedulertest.Harness) client.WarmPoolInterface {
	return h.API.ArlV1alpha1().WarmPools(schedulertest.Namespace)
}

// change changes the spec of a pool, as often as it takes.
func change(t *testing.T, h *schedulertest.Harness, edit func(*v1alpha1.WarmPool)) {
	t.Helper()
	h.Eventually("the pool is changed", func() error {
		pool, err := pools(h).Get(context.Background(), "pool", metav1.GetOptions{})
		if err != nil {
			return err
		}
		edit(pool)
		_, err = pools(h).Update(context.Background(), pool, metav1.UpdateOptions{})
		return err
	})
}

func podCount(h *schedulertest.Harness, want int) {
	h.TB.Helper()
	h.Eventually("the pods are right", func() error {
		if got := len(h.Runtime.Pods()); got != want {
			return fmt.Errorf("there are %d, want %d", got, want)
		}
		return nil
	})
}

func TestAPoolIsFilledAndScaled(t *testing.T) {
	h := schedulertest.New(t).Start()
	h.CreatePool(schedulertest.Pool("pool", 3))
	got := h.WaitIdle("pool", 3)
	if s := got.Status; s.Phase != v1alpha1.WarmPoolReady || s.UpdatedReplicas != 3 || s.ObservedGeneration != 1 || s.Selector != "arl.io/pool=pool" {
		t.Errorf("the status is %+v", s)
	}
	if !meta.IsStatusConditionTrue(got.Status.Conditions, v1alpha1.WarmPoolConditionReady) || !meta.IsStatusConditionFalse(got.Status.Conditions, v1alpha1.WarmPoolConditionReplicaFailure) {
		t.Errorf("the conditions are %+v", got.Status.Conditions)
	}
	change(t, h, func(p *v1alpha1.WarmPool) { p.Spec.Replicas = ptr.To[int32](1) })
	h.WaitIdle("pool", 1)
	podCount(h, 1)
	change(t, h, func(p *v1alpha1.WarmPool) { p.Spec.Replicas = ptr.To[int32](5) })
	h.WaitIdle("pool", 5)
	if all, most := h.Runtime.Created(); all != 7 || most != 5 {
		t.Errorf("%d pods were created, %d at a time; want 7 and 5", all, most)
	}
}

// TestSlowInformersDoNotMakeTooManyPods holds back every event of the API while
// pods are ordered: what was ordered is known without them.
func TestSlowInformersDoNotMakeTooManyPods(t *testing.T) {
	h := schedulertest.New(t)
	h.Runtime.Manual(true)
	h.Start()
	h.CreatePool(schedulertest.Pool("pool", 10))
	podCount(h, 10)
	h.API.Pause("warmpools")
	for _, p := range h.Runtime.Pods() {
		h.Runtime.Ready(p.Name)
	}
	h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool { return true })
	for i := range 10 {
		h.CreateSandbox(schedulertest.Sandbox(fmt.Sprintf("box-%d", i), "pool"))
	}
	podCount(h, 20)
	h.API.Resume("warmpools")
	h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool { return p.Status.AllocatedReplicas == 10 && p.Status.Replicas == 10 })
	if all, most := h.Runtime.Created(); all != 20 || most != 20 {
		t.Errorf("%d pods were created, %d at a time; want 20", all, most)
	}
}

func TestNoMoreStartAtOnceThanMay(t *testing.T) {
	h := schedulertest.New(t)
	h.Runtime.Manual(true)
	h.Configure(func(c *scheduler.Config) { c.PodStartParallelism = 4 }).Start()
	h.CreatePool(schedulertest.Pool("pool", 10))
	podCount(h, 4)
	h.Runtime.Ready(h.Runtime.Pods()[0].Name)
	h.Eventually("another one starts", func() error {
		starting := 0
		for _, p := range h.Runtime.Pods() {
			if p.Phase == podruntime.Starting {
				starting++
			}
		}
		if starting > 4 {
			t.Fatalf("%d pods start at the same time", starting)
		}
		if len(h.Runtime.Pods()) != 5 {
			return fmt.Errorf("there are %d pods", len(h.Runtime.Pods()))
		}
		return nil
	})
}

func TestFailedPodsAreReplaced(t *testing.T) {
	h := schedulertest.New(t).Start()
	h.CreatePool(schedulertest.Pool("pool", 2))
	h.WaitIdle("pool", 2)
	failed := h.Runtime.Pods()[0].Name
	h.Runtime.Fail(failed, podruntime.ReasonEvicted, "the node is full")
	h.Eventually("it is replaced", func() error {
		if h.Runtime.Pod(failed) != nil || len(h.Runtime.Pods()) != 2 {
			return fmt.Errorf("there are %d pods", len(h.Runtime.Pods()))
		}
		return nil
	})
	h.WaitIdle("pool", 2)
}

// TestPodsThatCannotStart fails every pod: the pool says why and backs off.
func TestPodsThatCannotStart(t *testing.T) {
	tests := map[string]struct {
		err            error
		reason, phrase string
	}{
		"refused":       {errors.New("no room on this machine"), "CreateFailed", "no room on this machine; not tried"},
		"quota used up": {&podruntime.Refusal{Reason: podruntime.ReasonQuota, Err: errors.New("exceeded quota: team")}, "QuotaExceeded", "exceeded quota: team; raise the ResourceQuota of the namespace; not tried"},
		"come back in an hour": {&podruntime.Refusal{Reason: podruntime.ReasonUnavailable, RetryAfter: time.Hour, Err: errors.New("too busy")},
			"ClusterUnavailable", "too busy"},
		"unsupported": {fmt.Errorf("%w: hostNetwork", podruntime.ErrInvalid), "InvalidTemplate", "hostNetwork"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := schedulertest.NewFrozen(t)
			tries := make(chan struct{}, 1000)
			h.Runtime.Refuse(func(podruntime.Spec) error { tries <- struct{}{}; return test.err })
			h.Start()
			h.CreatePool(schedulertest.Pool("pool", 3))
			got := h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool {
				h.Clock.Step(10 * time.Millisecond)
				return p.Status.Phase == v1alpha1.WarmPoolDegraded
			})
			failure := meta.FindStatusCondition(got.Status.Conditions, v1alpha1.WarmPoolConditionReplicaFailure)
			if failure == nil || failure.Status != metav1.ConditionTrue || failure.Reason != test.reason || !strings.Contains(failure.Message, test.phrase) {
				t.Errorf("the condition is %+v", failure)
			}
			for range 600 {
				h.Clock.Step(500 * time.Millisecond)
				<-time.After(100 * time.Microsecond)
			}
			if !strings.Contains(failure.Message, "; not tried again before 2026-01-02T03:0") {
				t.Errorf("the message %q does not say when the next try is", failure.Message)
			}
			// 1+2+4+8+16+32+60+60+60 seconds fit in 300, after three at once; or five times 60.
			if n := len(tries); n > 14 {
				t.Errorf("%d tries in five minutes", n)
			}
			h.Runtime.Refuse(nil)
			h.Eventually("it recovers", func() error {
				h.Clock.Step(time.Second)
				if len(h.Runtime.Pods()) != 3 {
					return fmt.Errorf("there are %d pods", len(h.Runtime.Pods()))
				}
				return nil
			})
			h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool {
				h.Clock.Step(10 * time.Millisecond)
				return p.Status.Phase == v1alpha1.WarmPoolReady && meta.IsStatusConditionFalse(p.Status.Conditions, v1alpha1.WarmPoolConditionReplicaFailure)
			})
		})
	}
}

// TestAPoolWhoseCreatesHangHoldsUpNoOther has more such pools than are worked on at
// the same time, and they want more pods than may start at the same time.
func TestAPoolWhoseCreatesHangHoldsUpNoOther(t *testing.T) {
	const slow = 8
	h := schedulertest.NewFrozen(t)
	pass := func(*v1alpha1.WarmPool) bool {
		h.Clock.Step(100 * time.Millisecond)
		return true
	}
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	// Before the scheduler is stopped, which waits for them.
	t.Cleanup(free)
	begun := make(chan string, 1000)
	h.Runtime.Refuse(func(spec podruntime.Spec) error {
		if spec.Pool == "quick" {
			return nil
		}
		begun <- spec.Pool
		<-release
		return nil
	})
	h.Start()
	for i := range slow {
		h.CreatePool(schedulertest.Pool(fmt.Sprintf("slow-%d", i), 3))
	}
	stuck := map[string]int{}
	h.Eventually("all pods of the slow pools are asked for", func() error {
		pass(nil)
		select {
		case pool := <-begun:
			stuck[pool]++
		default:
		}
		for i := range slow {
			if n := stuck[fmt.Sprintf("slow-%d", i)]; n != 3 {
				return fmt.Errorf("%v", stuck)
			}
		}
		return nil
	})
	h.CreatePool(schedulertest.Pool("quick", 2))
	h.WaitPool("quick", func(p *v1alpha1.WarmPool) bool { return pass(p) && p.Status.ReadyReplicas == 2 })
	h.WaitPool("slow-0", func(p *v1alpha1.WarmPool) bool {
		return pass(p) && p.Status.Replicas == 3 && p.Status.ReadyReplicas == 0
	})
	free()
	for i := range slow {
		h.WaitPool(fmt.Sprintf("slow-%d", i), func(p *v1alpha1.WarmPool) bool { return pass(p) && p.Status.ReadyReplicas == 3 })
	}
	if all, _ := h.Runtime.Created(); all != 3*slow+2 {
		t.Errorf("%d pods were created, want %d", all, 3*slow+2)
	}
}

// TestWhatThereIsToSayOfATemplate neither makes a pool look broken nor waits for a pod.
func TestWhatThereIsToSayOfATemplate(t *testing.T) {
	for name, test := range map[string]struct {
		advice          podruntime.Advice
		err             error
		replicas        int32
		status          metav1.ConditionStatus
		reason, message string
	}{
		"nothing": {replicas: 1, status: metav1.ConditionTrue, reason: "Accepted", message: "pods are made from the template"},
		"advice": {advice: podruntime.Advice{Reason: podruntime.ReasonNoCommand, Message: "nothing runs"}, replicas: 1,
			status: metav1.ConditionTrue, reason: "NoCommand", message: "nothing runs"},
		"refused": {err: fmt.Errorf("%w: hostNetwork", podruntime.ErrInvalid), replicas: 0,
			status: metav1.ConditionFalse, reason: "InvalidTemplate", message: "pod spec not supported: hostNetwork"},
	} {
		t.Run(name, func(t *testing.T) {
			h := schedulertest.New(t)
			h.Runtime.Judge(func(podruntime.Spec) (podruntime.Advice, error) { return test.advice, test.err })
			h.Start()
			h.CreatePool(schedulertest.Pool("pool", test.replicas))
			got := h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool {
				return p.Status.Phase == v1alpha1.WarmPoolReady && p.Status.ReadyReplicas == test.replicas
			})
			c := meta.FindStatusCondition(got.Status.Conditions, v1alpha1.WarmPoolConditionTemplateAccepted)
			if c == nil || c.Status != test.status || c.Reason != test.reason || c.Message != test.message {
				t.Errorf("the condition is %+v", c)
			}
			if !meta.IsStatusConditionFalse(got.Status.Conditions, v1alpha1.WarmPoolConditionReplicaFailure) {
				t.Errorf("the conditions are %+v", got.Status.Conditions)
			}
		})
	}
}

// TestWhatTheClusterRefuses tells of a template that the runtime took for a good one.
func TestWhatTheClusterRefuses(t *testing.T) {
	h := schedulertest.New(t)
	h.Runtime.Refuse(func(podruntime.Spec) error { return fmt.Errorf("%w: spec.x", podruntime.ErrInvalid) })
	h.Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	got := h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool { return p.Status.Phase == v1alpha1.WarmPoolDegraded })
	c := meta.FindStatusCondition(got.Status.Conditions, v1alpha1.WarmPoolConditionTemplateAccepted)
	if c == nil || c.Status != metav1.ConditionFalse || c.Reason != "InvalidTemplate" || !strings.Contains(c.Message, "spec.x") {
		t.Errorf("the condition is %+v", c)
	}
}

func TestAnImageThatCannotBeHad(t *testing.T) {
	h := schedulertest.New(t)
	h.Runtime.Manual(true)
	h.Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	podCount(h, 1)
	h.Runtime.Fail(h.Runtime.Pods()[0].Name, podruntime.ReasonImagePull, "no such image: typo:latest")
	got := h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool { return p.Status.Phase == v1alpha1.WarmPoolDegraded })
	failure := meta.FindStatusCondition(got.Status.Conditions, v1alpha1.WarmPoolConditionReplicaFailure)
	if failure.Reason != podruntime.ReasonImagePull || !strings.HasPrefix(failure.Message, "no such image: typo:latest; check the image and imagePullSecrets in the pool's spec.template; not tried again before ") {
		t.Errorf("the condition is %+v", failure)
	}
	// A corrected template does not wait for the back-off.
	h.Runtime.Manual(false)
	change(t, h, func(p *v1alpha1.WarmPool) { p.Spec.Template.Spec.Containers[0].Image = "right" })
	h.WaitIdle("pool", 1)
}

func TestANewTemplateReplacesIdlePods(t *testing.T) {
	for _, strategy := range []v1alpha1.UpdateStrategyType{v1alpha1.UpdateOnReplenish, v1alpha1.UpdateRecreate} {
		t.Run(string(strategy), func(t *testing.T) {
			h := schedulertest.New(t).Start()
			pool := schedulertest.Pool("pool", 3)
			pool.Spec.UpdateStrategy.Type = strategy
			h.CreatePool(pool)
			h.WaitIdle("pool", 3)
			used := h.CreateSandbox(schedulertest.Sandbox("box", "pool"))
			h.WaitIdle("pool", 3)
			change(t, h, func(p *v1alpha1.WarmPool) { p.Spec.Template.Spec.Containers[0].Image = "new" })
			h.Eventually("all idle pods are new", func() error {
				hashes := map[string]int{}
				for _, p := range h.Runtime.Pods() {
					hashes[p.TemplateHash]++
				}
				if old := h.Runtime.Pod(used.Status.PodName).TemplateHash; len(hashes) != 2 || hashes[old] != 1 {
					return fmt.Errorf("there are %v", hashes)
				}
				return nil
			})
			h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool {
				return p.Status.UpdatedReplicas == 3 && p.Status.Replicas == 3 && p.Status.AllocatedReplicas == 1
			})
			h.WaitPhase("box", v1alpha1.SandboxReady)
		})
	}
}

func TestARestartAdoptsPods(t *testing.T) {
	h := schedulertest.New(t).Start()
	h.CreatePool(schedulertest.Pool("pool", 3))
	h.WaitIdle("pool", 3)
	box := h.CreateSandbox(schedulertest.Sandbox("box", "pool"))
	h.CreateTask(schedulertest.Task("echo", "box"))
	h.WaitState("echo", v1alpha1.TaskSucceeded)
	h.WaitIdle("pool", 3)
	h.Restart()
	h.WaitIdle("pool", 3)
	if all, _ := h.Runtime.Created(); all != 4 {
		t.Errorf("%d pods were created, want 4", all)
	}
	// The sandbox goes away while nobody looks: its pod must not go to another.
	h.Stop()
	h.API.Remove("sandboxes", "box")
	h.Start()
	h.Eventually("the used pod is gone", func() error {
		if h.Runtime.Pod(box.Status.PodName) != nil {
			return errors.New("it is there")
		}
		return nil
	})
	h.WaitIdle("pool", 3)
}

// TestAnAgentThatDoesNotAnswerAfterARestart is asked again until it says whether its pod was used.
func TestAnAgentThatDoesNotAnswerAfterARestart(t *testing.T) {
	h := schedulertest.New(t).Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	h.WaitIdle("pool", 1)
	pod := h.Runtime.Pods()[0]
	pod.Agent.Deaf(true)
	h.Restart()
	h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool { return p.Status.ReadyReplicas == 0 && p.Status.Replicas == 1 })
	if box := h.CreateSandbox(schedulertest.Sandbox("box", "pool")); box.Status.PodName != "" {
		t.Error("a pod was given out that may have been used")
	}
	pod.Agent.Deaf(false)
	if got := h.WaitPhase("box", v1alpha1.SandboxReady); got.Status.PodName != pod.Name {
		t.Errorf("it has pod %s, want %s", got.Status.PodName, pod.Name)
	}
}

func TestStatusWritesAreFewAndSurviveFaults(t *testing.T) {
	h := schedulertest.New(t)
	faults := 0
	h.API.SetFault(func(r schedulertest.Request) error {
		if r.Resource != "warmpools" || r.Subresource != "status" || faults >= 4 {
			return nil
		}
		if faults++; faults%2 == 0 {
			return apierrors.NewInternalError(errors.New("no space left"))
		}
		return apierrors.NewConflict(v1alpha1.SchemeGroupVersion.WithResource("warmpools").GroupResource(), "pool", errors.New("changed"))
	})
	h.Start()
	begin := time.Now()
	h.CreatePool(schedulertest.Pool("pool", 20))
	h.WaitIdle("pool", 20)
	for i := range 100 {
		h.CreateSandbox(schedulertest.Sandbox(fmt.Sprintf("box-%d", i), "pool"))
	}
	h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool {
		return p.Status.AllocatedReplicas == 100 && p.Status.ReadyReplicas == 20
	})
	most := int(time.Since(begin)/(200*time.Millisecond)) + 5
	if n := h.API.Writes("update warmpools/status"); n > most {
		t.Errorf("%d writes of the status in %s, want at most %d", n, time.Since(begin), most)
	}
}

func TestAPoolDeletedInMidFill(t *testing.T) {
	h := schedulertest.New(t)
	h.Runtime.Manual(true)
	h.Start()
	h.CreatePool(schedulertest.Pool("pool", 5))
	podCount(h, 5)
	if err := pools(h).Delete(context.Background(), "pool", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	podCount(h, 0)
	schedulertest.Gone(h, "pool", pools(h).Get)
	h.Runtime.Manual(false)
	h.CreatePool(schedulertest.Pool("pool", 2))
	h.WaitIdle("pool", 2)
}
