package ledger

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
)

func replicas(n int32) func(*v1alpha1.WarmPool) {
	return func(p *v1alpha1.WarmPool) { p.Spec.Replicas = &n }
}

func maxPods(n int32) func(*v1alpha1.WarmPool) {
	return func(p *v1alpha1.WarmPool) { p.Spec.MaxPods = &n }
}

// wait has so many sandboxes wait.
func (d *desk) wait(n int) {
	for i := range n {
		d.SetSandbox(boxOf(fmt.Sprintf("box-%02d", i)))
	}
}

// TestPodsAreStartedForWaitingSandboxes has more sandboxes wait than the pool has replicas.
func TestPodsAreStartedForWaitingSandboxes(t *testing.T) {
	for _, test := range []struct {
		replicas, maxPods int32
		want              int
	}{{0, 0, 20}, {1, 0, 20}, {30, 0, 30}, {1, 8, 8}} {
		t.Run(fmt.Sprintf("replicas %d, maxPods %d", test.replicas, test.maxPods), func(t *testing.T) {
			d := newDesk(t)
			pool := poolOf("p", test.replicas)
			if test.maxPods > 0 {
				maxPods(test.maxPods)(pool)
			}
			d.SetPool(pool)
			d.Open()
			d.wait(20)
			started := d.fill(pool, podruntime.Starting)
			d.want("started", test.want, len(started))
			d.want("started again", 0, len(d.Fill(poolKey).Start))
			for _, name := range started {
				d.Observe(podruntime.Event{Pod: podOf(name, pool, podruntime.Ready)})
			}
			d.want("waiting", max(20-test.want, 0), d.Counts(poolKey).Waiting)
			d.want("allocated", min(20, test.want), d.Counts(poolKey).Allocated)
		})
	}
}

// TestPodsOfSandboxesThatWaitNoMore are kept for a while and then let go, down to the replicas.
func TestPodsOfSandboxesThatWaitNoMore(t *testing.T) {
	for name, leave := range map[string]func(*desk, *v1alpha1.Sandbox){
		"deleted":   func(d *desk, s *v1alpha1.Sandbox) { d.DropSandbox(s) },
		"timed out": func(d *desk, s *v1alpha1.Sandbox) { d.GiveUp(s.UID) },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			pool := poolOf("p", 1)
			d.SetPool(pool)
			d.Open()
			d.wait(5)
			started := d.fill(pool, podruntime.Starting)
			for i := range 4 {
				leave(d, boxOf(fmt.Sprintf("box-%02d", i)))
			}
			d.want("next look", noon.Add(spareTime), d.Fill(poolKey).RetryAt)
			d.want("unwanted", 0, len(d.unwanted))
			// A client that comes again finds a pod on its way.
			d.SetSandbox(boxOf("again"))
			d.want("started", 0, len(d.Fill(poolKey).Start))
			for _, name := range started {
				d.Observe(podruntime.Event{Pod: podOf(name, pool, podruntime.Ready)})
			}
			d.want("again", Granted, d.stage("again"))
			d.clock.Step(spareTime - time.Millisecond)
			d.Fill(poolKey)
			d.want("unwanted", 0, len(d.unwanted))
			d.clock.Step(time.Millisecond)
			d.want("next look", time.Time{}, d.Fill(poolKey).RetryAt)
			d.want("unwanted", 2, len(d.unwanted))
			d.want("counts", Counts{Unused: 1, Ready: 1, Updated: 1, Allocated: 2}, d.Counts(poolKey))
		})
	}
}

func TestScalingDownEndsSparePods(t *testing.T) {
	d := newDesk(t)
	d.SetPool(poolOf("p", 1))
	d.Open()
	d.wait(5)
	d.fill(poolOf("p", 1), podruntime.Starting)
	for i := range 5 {
		d.DropSandbox(boxOf(fmt.Sprintf("box-%02d", i)))
	}
	d.SetPool(poolOf("p", 0))
	d.Fill(poolKey)
	d.want("unwanted", 5, len(d.unwanted))
}

func TestWhyASandboxWaits(t *testing.T) {
	d, pool := opened(t, 0)
	d.want("nobody waits", 0, len(d.Waiters(poolKey)))
	d.SetSandbox(boxOf("a"))
	d.SetSandbox(boxOf("b"))
	const soon = `WaitingForPod: pool "pool" has no idle pod: one is started for each sandbox that waits`
	why := func(i int) string { w := d.Waiters(poolKey)[i]; return w.Reason + ": " + w.Message }
	d.want("cold pool", soon, why(0))
	d.SetPool(poolOf("p", 2, maxPods(1)))
	started := d.fill(pool, podruntime.Starting)
	d.want("the pod that starts is for it", soon, why(0))
	const capped = `MaxPodsReached: pool "pool" has as many pods as its spec.maxPods, 1, allows: ` +
		`the next is started when a sandbox is deleted; raise spec.maxPods to have more`
	d.want("at the cap", capped, why(1))
	d.Observe(podruntime.Event{Pod: podOf(started[0], pool, podruntime.Ready)})
	d.want("at the cap", capped, why(0))
	d.SetPool(poolOf("p", 2, func(p *v1alpha1.WarmPool) { p.DeletionTimestamp = ptr.To(metav1.NewTime(noon)) }))
	d.want("terminating", `PoolTerminating: pool "pool" is being deleted and gives out no more pods: create it again when it is gone`, why(0))
	d.DropPool(poolKey)
	d.want("gone", `PoolNotFound: pool "pool" does not exist in namespace "ns": create it`, why(0))
	d.DropSandbox(boxOf("unknown"))
	d.DropSandbox(boxOf("b"))
	d.want("waiting", 0, d.Counts(poolKey).Waiting)
}

// TestAnAllocationTimeoutNamesWhatWasWaitedFor and never advises what does not help.
func TestAnAllocationTimeoutNamesWhatWasWaitedFor(t *testing.T) {
	fail := func(reason, message string) func(*desk) {
		return func(d *desk) {
			d.SetPool(poolOf("p", 1))
			for _, spec := range d.Fill(poolKey).Start {
				d.StartFailed(spec.Key, reason, message, 0)
			}
		}
	}
	for name, test := range map[string]struct {
		prepare func(*desk)
		want    string
	}{
		"no pool": {func(*desk) {}, `pool "pool" does not exist in namespace "ns": create it`},
		"too few": {func(d *desk) { d.SetPool(poolOf("p", 1)) }, `pool "pool" had no idle pod: raise its spec.replicas, or allow more time`},
		"the cap": {func(d *desk) {
			d.SetPool(poolOf("p", 1, maxPods(1)))
			d.wait(1)
			d.fill(poolOf("p", 1), podruntime.Ready)
		},
			`its spec.maxPods, 1, allows`},
		"the image": {fail(podruntime.ReasonImagePull, "no such image: typo"), `cannot start pods: ImagePullFailed: no such image: typo; check the image`},
		"the quota": {fail(podruntime.ReasonQuota, "exceeded quota: few"), `QuotaExceeded: exceeded quota: few; raise the ResourceQuota`},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.Open()
			test.prepare(d)
			d.SetSandbox(boxOf("late"))
			standing, ok := d.GiveUp("uid-late")
			d.want("gave up", true, ok)
			d.want("reason", v1alpha1.SandboxReasonAllocationTimeout, standing.Reason)
			if !strings.Contains(standing.Message, test.want) {
				t.Errorf("the message is %q, want %q in it", standing.Message, test.want)
			}
		})
	}
}

// TestARestartKeepsWhatAPoolSays has a new ledger learn of a pool that could not start pods, and of one
// whose template was proven.
func TestARestartKeepsWhatAPoolSays(t *testing.T) {
	failed := poolOf("p", 1)
	failed.Status.ObservedGeneration = 1
	failed.Status.Conditions = []metav1.Condition{
		{Type: v1alpha1.WarmPoolConditionReplicaFailure, Status: metav1.ConditionTrue, Reason: "QuotaExceeded", Message: "no more; raise it" + RetryMark + "noon"},
	}
	d := newDesk(t)
	d.SetPool(failed)
	d.Open()
	d.want("counts", Counts{Failing: true, Reason: "QuotaExceeded", Message: "no more; raise it"}, d.Counts(poolKey))
	d.want("proven", false, d.State(poolKey).Proven)
	d.fill(failed, podruntime.Ready)
	d.want("state", State{Counts: Counts{Unused: 1, Ready: 1, Updated: 1}, Proven: true}, d.State(poolKey))

	proven := poolOf("p", 0)
	proven.Status.ObservedGeneration = 1
	proven.Status.Conditions = []metav1.Condition{
		{Type: v1alpha1.WarmPoolConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.WarmPoolReasonTemplateProven},
	}
	for _, generation := range []int64{1, 2} {
		d = newDesk(t)
		proven.Generation = generation
		d.SetPool(proven)
		d.Open()
		d.want("proven", generation == 1, d.State(poolKey).Proven)
	}
}

// TestATemplateIsProvenOnce follows changes of the template back and forth.
func TestATemplateIsProvenOnce(t *testing.T) {
	d, pool := opened(t, 1)
	d.want("proven", true, d.State(poolKey).Proven)
	d.reserve(boxOf("a"))
	d.Settle("uid-a", true)
	d.want("proven after a claim", true, d.State(poolKey).Proven)
	next := poolOf("p", 1, image("two", 2))
	d.SetPool(next)
	d.want("proven after a change", false, d.State(poolKey).Proven)
	d.fill(next, podruntime.Ready)
	d.want("proven by the next pod", true, d.State(poolKey).Proven)
	pool.Generation = 3
	d.SetPool(pool)
	d.want("proven without an idle pod", false, d.State(poolKey).Proven)
	next.Generation = 4
	d.SetPool(next)
	d.want("proven by the idle pod", true, d.State(poolKey).Proven)
}
