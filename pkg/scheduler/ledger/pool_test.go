package ledger

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
)

func TestTheHashFollowsTheTemplateAlone(t *testing.T) {
	base := TemplateHash(poolOf("p", 1))
	same := poolOf("q", 5, func(p *v1alpha1.WarmPool) { p.Spec.MaxPods = ptr.To[int32](3); p.Labels = map[string]string{"a": "b"} })
	if got := TemplateHash(same); got != base {
		t.Errorf("%s for the same template, want %s", got, base)
	}
	for name, other := range map[string]*v1alpha1.WarmPool{
		"image":   poolOf("p", 1, image("two", 1)),
		"workDir": poolOf("p", 1, func(p *v1alpha1.WarmPool) { p.Spec.WorkDir = "/other" }),
		"label":   poolOf("p", 1, func(p *v1alpha1.WarmPool) { p.Spec.Template.Labels = map[string]string{"a": "b"} }),
	} {
		if TemplateHash(other) == base {
			t.Errorf("another %s has the same hash", name)
		}
	}
}

func TestBackOff(t *testing.T) {
	d := newDesk(t)
	pool := poolOf("p", 3)
	d.SetPool(pool)
	d.Open()
	d.want("started", 3, len(d.fill(pool, podruntime.Failed)))
	d.want("failing", true, d.Counts(poolKey).Failing)
	d.want("let go", 3, len(d.unwanted))
	for _, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		work := d.Fill(poolKey)
		d.want("started while backing off", 0, len(work.Start))
		d.want("next try", d.clock.Now().Add(wait*time.Second), work.RetryAt)
		d.clock.Step(wait*time.Second - time.Millisecond)
		d.want("started too early", 0, len(d.Fill(poolKey).Start))
		d.clock.Step(time.Millisecond)
		d.want("tries", 1, len(d.fill(pool, podruntime.Failed)))
	}
	d.clock.Step(time.Minute)
	one := d.Fill(poolKey).Start
	d.want("tries once more", 1, len(one))
	d.Observe(podruntime.Event{Pod: podOf(one[0].Name, pool, podruntime.Ready)})
	d.want("failing", false, d.Counts(poolKey).Failing)
	d.want("starts the rest", 2, len(d.Fill(poolKey).Start))
}

// TestStartingForAReason has pods that cannot start for now, and that somebody
// else keeps trying to start.
func TestStartingForAReason(t *testing.T) {
	d := newDesk(t)
	pool := poolOf("p", 2)
	d.SetPool(pool)
	d.Open()
	started := d.fill(pool, podruntime.Starting)
	d.want("failing", false, d.Counts(poolKey).Failing)
	waits := podOf(started[1], pool, podruntime.Starting)
	waits.Reason, waits.Message = podruntime.ReasonUnschedulable, "no room"
	d.Observe(podruntime.Event{Pod: waits})
	counts := d.Counts(poolKey)
	d.want("failing", true, counts.Failing)
	d.want("reason", "Unschedulable: no room; add nodes, or ask for less in the pool's spec.template", counts.Reason+": "+counts.Message)
	d.want("new pods", 0, len(d.Fill(poolKey).Start))
	d.SetSandbox(boxOf("a"))
	d.want("waits for", "Unschedulable", d.Waiters(poolKey)[0].Reason)
	d.DropSandbox(boxOf("a"))
	d.Observe(podruntime.Event{Pod: podOf(started[0], pool, podruntime.Ready)})
	d.want("failing with one ready", true, d.Counts(poolKey).Failing)
	d.Observe(podruntime.Event{Pod: podOf(started[1], pool, podruntime.Ready)})
	d.want("failing with all ready", false, d.Counts(poolKey).Failing)
}

func TestFailuresOfACreate(t *testing.T) {
	d := newDesk(t)
	d.SetPool(poolOf("p", 2))
	d.Open()
	for _, spec := range d.Fill(poolKey).Start {
		d.StartFailed(spec.Key, "CreateFailed", "no room", 0)
	}
	counts := d.Counts(poolKey)
	d.want("counts", Counts{Failing: true, Reason: "CreateFailed", Message: "no room", RetryAt: noon.Add(time.Second)}, counts)
	d.SetSandbox(boxOf("a"))
	d.want("waits for", `pool "pool" cannot start pods: CreateFailed: no room`, d.Waiters(poolKey)[0].Message)
	// A new template starts with a clean slate.
	d.SetPool(poolOf("p", 2, image("two", 2)))
	d.want("failing", false, d.Counts(poolKey).Failing)
	d.want("started", 2, len(d.Fill(poolKey).Start))
	d.StartFailed(podruntime.Key{Namespace: "ns", Name: "unknown"}, "", "", 0)
}

// TestAWaitThatIsAskedFor has the one who refuses pods say when to come back.
func TestAWaitThatIsAskedFor(t *testing.T) {
	for name, test := range map[string]struct{ asked, want time.Duration }{
		"shorter than ours": {time.Millisecond, time.Second},
		"longer":            {7 * time.Second, 7 * time.Second},
		"too long":          {time.Hour, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.SetPool(poolOf("p", 2))
			d.Open()
			for i, spec := range d.Fill(poolKey).Start {
				// Of several that fail together, the longest wait counts.
				d.StartFailed(spec.Key, "Busy", "", time.Duration(i)*test.asked)
			}
			d.want("next try", d.clock.Now().Add(test.want), d.Fill(poolKey).RetryAt)
		})
	}
}

// TestNoPodIsWantedAnyMore has a pool whose last pods could not be had made smaller.
func TestNoPodIsWantedAnyMore(t *testing.T) {
	d, _ := opened(t, 2)
	d.SetPool(poolOf("p", 3))
	for _, spec := range d.Fill(poolKey).Start {
		d.StartFailed(spec.Key, "CreateFailed", "no room", 0)
	}
	d.want("failing", true, d.Counts(poolKey).Failing)
	d.Fill(poolKey)
	d.want("failing while it waits", true, d.Counts(poolKey).Failing)
	d.SetPool(poolOf("p", 2))
	d.Fill(poolKey)
	d.want("failing with all that is wanted", false, d.Counts(poolKey).Failing)
	d.SetPool(poolOf("p", 3))
	d.want("next try", noon.Add(time.Second), d.Fill(poolKey).RetryAt)
}

// TestRoomInAQuota has a sandbox released whose pool cannot have more pods.
func TestRoomInAQuota(t *testing.T) {
	for _, tt := range []struct {
		reason string
		wait   time.Duration
	}{{podruntime.ReasonQuota, time.Second}, {podruntime.ReasonPodSecurity, 4 * time.Second}} {
		t.Run(tt.reason, func(t *testing.T) {
			d, pool := opened(t, 1)
			used := d.reserve(boxOf("a"))
			d.Settle("uid-a", true)
			for _, wait := range []time.Duration{1, 2, 4} {
				d.StartFailed(d.Fill(poolKey).Start[0].Key, tt.reason, "no more", 0)
				d.want("next try", d.clock.Now().Add(wait*time.Second), d.Fill(poolKey).RetryAt)
				if wait < 4 {
					d.clock.Step(wait * time.Second)
				}
			}
			d.DropSandbox(boxOf("a", bound(used)))
			d.Observe(podruntime.Event{Pod: podOf(used, pool, podruntime.Ready), Deleted: true})
			d.want("next try", d.clock.Now().Add(tt.wait), d.Fill(poolKey).RetryAt)
		})
	}
}

func TestAQuietPeriodForgivesFailures(t *testing.T) {
	d := newDesk(t)
	pool := poolOf("p", 1)
	d.SetPool(pool)
	d.Open()
	for range 4 {
		d.fill(pool, podruntime.Failed)
		d.clock.Step(time.Minute)
	}
	d.clock.Step(quiet)
	d.fill(pool, podruntime.Failed)
	d.want("next try", d.clock.Now().Add(time.Second), d.Fill(poolKey).RetryAt)
}

func TestADeletedPoolLetsGoWhatIsUnused(t *testing.T) {
	d, pool := opened(t, 2)
	used := d.reserve(boxOf("a"))
	d.Settle("uid-a", true)
	d.SetSandbox(boxOf("b"))
	d.SetSandbox(boxOf("c"))
	d.want("b", Granted, d.stage("b"))
	d.DropPool(poolKey)
	d.DropPool(poolKey)
	d.want("unwanted", 0, len(d.unwanted))
	d.want("a", Bound, d.stage("a"))
	waiter := d.Waiters(poolKey)[0]
	d.want("reason", v1alpha1.SandboxReasonPoolNotFound, waiter.Reason)
	d.want("position", int32(0), waiter.Position)
	d.want("reserved without a pool", "", d.reserve(boxOf("d")))

	again := poolOf("again", 1)
	d.SetPool(again)
	d.want("counts", Counts{Waiting: 1}, d.Counts(poolKey))
	d.fill(again, podruntime.Ready)
	d.want("c", Granted, d.stage("c"))
	d.DropSandbox(boxOf("a", bound(used)))
	d.want("unwanted", []string{used}, d.unwanted)
	d.Observe(podruntime.Event{Pod: podOf(used, pool, podruntime.Ready), Deleted: true})
}

func TestAPoolBeingDeletedServesNoMore(t *testing.T) {
	d, _ := opened(t, 1)
	d.SetPool(poolOf("p", 1, func(p *v1alpha1.WarmPool) { p.DeletionTimestamp = ptr.To(p.CreationTimestamp) }))
	d.want("unwanted", 1, len(d.unwanted))
	d.want("reserved", "", d.reserve(boxOf("a")))
	d.want("started", 0, len(d.Fill(poolKey).Start))
}

func TestANewTemplate(t *testing.T) {
	tests := map[string]struct {
		strategy  v1alpha1.UpdateStrategyType
		meanwhile string
	}{
		"OnReplenish gives out old pods meanwhile": {v1alpha1.UpdateOnReplenish, "pool-1"},
		"Recreate does not":                        {v1alpha1.UpdateRecreate, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d, _ := opened(t, 1)
			next := poolOf("p", 1, image("two", 2), func(p *v1alpha1.WarmPool) { p.Spec.UpdateStrategy.Type = test.strategy })
			d.SetPool(next)
			d.want("given out meanwhile", test.meanwhile, d.reserve(boxOf("a")))
			d.Settle("uid-a", false)
			started := d.fill(next, podruntime.Ready)
			d.want("started", 1, len(started))
			d.want("given out then", started[0], d.reserve(boxOf("b")))
			d.Settle("uid-b", false)
			d.Fill(poolKey)
			d.want("unwanted", []string{"pool-1"}, d.unwanted)
			d.want("counts", Counts{Unused: 1, Ready: 1, Updated: 1}, d.Counts(poolKey))
		})
	}
}

func TestDeletionOfPods(t *testing.T) {
	d, pool := opened(t, 2)
	d.SetPool(poolOf("p", 0))
	d.Fill(poolKey)
	d.want("unwanted", 2, len(d.unwanted))
	d.want("no idle pods wanted", "", d.reserve(boxOf("a")))
	key := podruntime.Key{Namespace: "ns", Name: "pool-1"}
	d.Gone(key, "another")
	d.Gone(key, "uid-pool-1")
	d.Observe(podruntime.Event{Pod: podOf("pool-2", pool, podruntime.Ready), Deleted: true})
	d.Observe(podruntime.Event{Pod: podOf("pool-2", pool, podruntime.Ready), Deleted: true})
	d.DropPool(poolKey)
	if len(d.books) != 0 || len(d.pods) != 0 || len(d.claims) != 0 || len(d.stored) != 0 {
		t.Errorf("%d books, %d pods and %d claims are left", len(d.books), len(d.pods), len(d.claims))
	}
}

// TestAPodIsStoppedBeforeItWasCreated scales down while a create is under way.
func TestAPodIsStoppedBeforeItWasCreated(t *testing.T) {
	d := newDesk(t)
	pool := poolOf("p", 1)
	d.SetPool(pool)
	d.Open()
	spec := d.Fill(poolKey).Start[0]
	d.SetPool(poolOf("p", 0))
	d.Fill(poolKey)
	d.Gone(spec.Key, "")
	d.Observe(podruntime.Event{Pod: podOf(spec.Name, pool, podruntime.Starting)})
	d.Fill(poolKey)
	d.want("unwanted", []string{spec.Name, spec.Name}, d.unwanted)
}

func TestPodsThatTakeAnothersName(t *testing.T) {
	d, pool := opened(t, 1)
	d.reserve(boxOf("a"))
	d.Settle("uid-a", true)
	impostor := podOf("pool-1", pool, podruntime.Ready)
	impostor.UID = "impostor"
	d.Observe(podruntime.Event{Pod: impostor, Deleted: true})
	d.want("a", Bound, d.stage("a"))
	d.Observe(podruntime.Event{Pod: impostor})
	d.want("a", Ended, d.stage("a"))
	d.want("unproven", []string{"pool-1"}, d.unproven)
}

func TestAPodIsToldOfLate(t *testing.T) {
	d, pool := opened(t, 1)
	// The creator's answer comes after the runtime's events.
	d.Observe(podruntime.Event{Pod: podOf("pool-1", pool, podruntime.Starting)})
	d.want("counts", Counts{Unused: 1, Ready: 1, Updated: 1}, d.Counts(poolKey))
	slow := podOf("pool-1", pool, podruntime.Failed)
	d.Observe(podruntime.Event{Pod: slow})
	d.Observe(podruntime.Event{Pod: podOf("pool-1", pool, podruntime.Ready)})
	d.want("ready", 0, d.Counts(poolKey).Ready)
	if d.Close(); d.IsOpen() {
		t.Error("open after Close")
	}
}

// TestAPoolThatIsRetiredGivesOutNoPod until it is restored as often.
func TestAPoolThatIsRetiredGivesOutNoPod(t *testing.T) {
	d, _ := opened(t, 2)
	for _, want := range []string{"pool-1", ""} {
		if want == "" {
			for range 2 {
				uid, ok := d.Retire(poolKey)
				d.want("retired", true, ok)
				d.want("uid", types.UID("p"), uid)
			}
			d.Restore(poolKey, "another")
		}
		d.want("reserved", want, d.reserve(boxOf("a")))
		_, ok := d.Retire(poolKey)
		d.want("retired while a pod is in use", want == "", ok)
		d.Settle("uid-a", false)
	}
	for range 3 {
		d.want("reserved", "", d.reserve(boxOf("b")))
		d.Restore(poolKey, "p")
	}
	d.want("reserved", "pool-2", d.reserve(boxOf("b")))
	_, ok := d.Retire(types.NamespacedName{Namespace: "ns", Name: "unknown"})
	d.want("an unknown pool", false, ok)
}
