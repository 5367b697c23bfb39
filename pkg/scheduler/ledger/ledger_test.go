package ledger

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// desk is a ledger, and what it has said.
type desk struct {
	*testing.T
	*Ledger
	clock              *testingclock.FakeClock
	unwanted, unproven []string
	named              int
}

func (d *desk) PoolChanged(types.NamespacedName)    {}
func (d *desk) QueueChanged(types.NamespacedName)   {}
func (d *desk) SandboxChanged(types.NamespacedName) {}
func (d *desk) PodUnwanted(pod podruntime.Key, _ types.UID) {
	d.unwanted = append(d.unwanted, pod.Name)
}
func (d *desk) PodUnproven(pod podruntime.Key, _ types.UID) {
	d.unproven = append(d.unproven, pod.Name)
}

func newDesk(t *testing.T) *desk {
	d := &desk{T: t, clock: testingclock.NewFakeClock(noon)}
	d.Ledger = New(Config{Clock: d.clock, Listener: d, StartLimit: 100, PodName: func(pool string) string {
		d.named++
		return fmt.Sprintf("%s-%d", pool, d.named)
	}})
	return d
}

var poolKey = types.NamespacedName{Namespace: "ns", Name: "pool"}

func poolOf(uid types.UID, replicas int32, changes ...func(*v1alpha1.WarmPool)) *v1alpha1.WarmPool {
	p := &v1alpha1.WarmPool{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "pool", UID: uid, Generation: 1},
		Spec: v1alpha1.WarmPoolSpec{Replicas: &replicas, Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "main", Image: "one"}},
		}}},
	}
	for _, change := range changes {
		change(p)
	}
	return p
}

func image(name string, generation int64) func(*v1alpha1.WarmPool) {
	return func(p *v1alpha1.WarmPool) {
		p.Generation = generation
		p.Spec.Template.Spec.Containers[0].Image = name
	}
}

func boxOf(name string, changes ...func(*v1alpha1.Sandbox)) *v1alpha1.Sandbox {
	s := &v1alpha1.Sandbox{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.NewTime(noon)},
		Spec:       v1alpha1.SandboxSpec{PoolRef: "pool"},
		Status:     v1alpha1.SandboxStatus{Phase: v1alpha1.SandboxPending},
	}
	for _, change := range changes {
		change(s)
	}
	return s
}

func bound(pod string) func(*v1alpha1.Sandbox) {
	return func(s *v1alpha1.Sandbox) {
		s.Status = v1alpha1.SandboxStatus{Phase: v1alpha1.SandboxReady, PodName: pod, PodUID: types.UID("uid-" + pod)}
	}
}

// podOf returns a pod as the runtime tells of it.
func podOf(name string, pool *v1alpha1.WarmPool, phase podruntime.Phase) podruntime.Pod {
	return podruntime.Pod{
		Key: podruntime.Key{Namespace: "ns", Name: name}, UID: types.UID("uid-" + name),
		Pool: pool.Name, PoolUID: pool.UID, TemplateHash: TemplateHash(pool), Phase: phase,
	}
}

// fill has the pool filled, and the pods that are started told of in the given phase.
func (d *desk) fill(pool *v1alpha1.WarmPool, phase podruntime.Phase) (started []string) {
	for _, spec := range d.Fill(poolKey).Start {
		d.Observe(podruntime.Event{Pod: podOf(spec.Name, pool, podruntime.Starting)})
		d.Observe(podruntime.Event{Pod: podOf(spec.Name, pool, phase)})
		started = append(started, spec.Name)
	}
	return started
}

// reserve has a sandbox created, up to the storage's answer.
func (d *desk) reserve(s *v1alpha1.Sandbox) string {
	pod, _, ok := d.Reserve(s)
	if !ok {
		return ""
	}
	return pod.Name
}

func (d *desk) stage(name string) Stage { return d.Standing(types.UID("uid-" + name)).Stage }

func (d *desk) want(what string, want, got any) {
	d.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		d.Errorf("%s: -want +got:\n%s", what, diff)
	}
}

// opened returns a ledger with a pool of so many ready pods.
func opened(t *testing.T, replicas int32) (*desk, *v1alpha1.WarmPool) {
	d := newDesk(t)
	pool := poolOf("p", replicas)
	d.SetPool(pool)
	d.Open()
	d.fill(pool, podruntime.Ready)
	return d, pool
}

func TestWhatIsOrderedIsNotOrderedAgain(t *testing.T) {
	d := newDesk(t)
	d.SetPool(poolOf("p", 3))
	if n := len(d.Fill(poolKey).Start); n != 0 {
		t.Errorf("%d pods ordered before Open", n)
	}
	d.Open()
	d.want("ordered first", 3, len(d.Fill(poolKey).Start))
	d.want("ordered before the runtime told of any", 0, len(d.Fill(poolKey).Start))
	d.want("counts", Counts{Unused: 3}, d.Counts(poolKey))
}

func TestAReservationThatIsNotStoredGoesBack(t *testing.T) {
	d, _ := opened(t, 1)
	d.want("first", "pool-1", d.reserve(boxOf("a")))
	d.want("second", "", d.reserve(boxOf("b")))
	d.Settle("uid-a", false)
	d.want("a", Unknown, d.stage("a"))
	d.want("third", "pool-1", d.reserve(boxOf("c")))
	d.Settle("uid-c", true)
	d.SetSandbox(boxOf("c", bound("pool-1")))
	d.want("c", Bound, d.stage("c"))
	d.want("counts", Counts{Allocated: 1}, d.Counts(poolKey))
	d.DropSandbox(boxOf("c", bound("pool-1")))
	d.want("unwanted", []string{"pool-1"}, d.unwanted)
}

func TestNobodyOvertakesExceptByPriority(t *testing.T) {
	d, pool := opened(t, 0)
	d.SetSandbox(boxOf("first"))
	d.SetSandbox(boxOf("urgent", func(s *v1alpha1.Sandbox) { s.Spec.Priority = 3 }))
	d.SetPool(poolOf("p", 1, maxPods(1)))
	waiters := d.Waiters(poolKey)
	d.want("first in line", "urgent", waiters[0].Sandbox.Name)
	d.want("next in line", int32(2), waiters[1].Position)
	d.fill(pool, podruntime.Ready)
	d.want("urgent", Granted, d.stage("urgent"))
	d.want("first", Waiting, d.stage("first"))
	d.Confirm("uid-urgent", podruntime.Key{Namespace: "ns", Name: "pool-1"}, "uid-pool-1")
	d.want("urgent", Bound, d.stage("urgent"))
	d.SetPool(poolOf("p", 1, maxPods(2)))
	d.fill(pool, podruntime.Ready)
	d.want("first", Granted, d.stage("first"))
}

func TestHigherPriorityOvertakesInTheCreate(t *testing.T) {
	d, _ := opened(t, 1)
	too := func(s *v1alpha1.Sandbox) {
		s.Spec.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("64")}}
	}
	d.want("too large", "", d.reserve(boxOf("large", too)))
	d.SetSandbox(boxOf("large", too))
	s := d.Standing("uid-large")
	d.want("reason", v1alpha1.SandboxReasonInsufficientResources, s.Reason)
	if s.Stage != Ended || !strings.Contains(s.Message, "64 asked") {
		t.Errorf("large stands at %+v", s)
	}
	d.want("no pool", "", d.reserve(boxOf("lost", func(s *v1alpha1.Sandbox) { s.Spec.PoolRef = "none" })))
	d.want("same again", "pool-1", d.reserve(boxOf("a")))
	d.want("twice", "", d.reserve(boxOf("a")))
}

func TestAPodThatDies(t *testing.T) {
	died := podruntime.Pod{}
	tests := map[string]struct {
		prepare func(d *desk)
		want    Stage
		after   func(d *desk)
		finally Stage
	}{
		"while reserved and then stored": {
			func(d *desk) { d.reserve(boxOf("a")) }, Reserved,
			func(d *desk) { d.Settle("uid-a", true) }, Ended,
		},
		"while reserved and then not stored": {
			func(d *desk) { d.reserve(boxOf("a")) }, Reserved,
			func(d *desk) { d.Settle("uid-a", false) }, Unknown,
		},
		"while granted": {
			func(d *desk) { d.SetSandbox(boxOf("a")) }, Waiting,
			func(d *desk) { d.GiveUp("uid-a") }, Ended,
		},
		"while granted and the write came through": {
			func(d *desk) { d.SetSandbox(boxOf("a")) }, Waiting,
			func(d *desk) { d.Confirm("uid-a", died.Key, died.UID) }, Ended,
		},
		"while bound": {
			func(d *desk) { d.reserve(boxOf("a")); d.Settle("uid-a", true) }, Ended,
			func(d *desk) {
				d.SetSandbox(boxOf("a", func(s *v1alpha1.Sandbox) { s.Status.Phase = v1alpha1.SandboxFailed }))
			}, Unknown,
		},
	}
	for name, test := range tests {
		for _, deleted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, deleted=%v", name, deleted), func(t *testing.T) {
				d, pool := opened(t, 1)
				test.prepare(d)
				died = podOf("pool-1", pool, podruntime.Failed)
				died.Reason, died.Message = podruntime.ReasonOOM, "too greedy"
				d.Observe(podruntime.Event{Pod: died, Deleted: deleted})
				d.want("after the death", test.want, d.stage("a"))
				test.after(d)
				d.want("in the end", test.finally, d.stage("a"))
				d.want("counts", Counts{}, func() Counts { c := d.Counts(poolKey); c.Waiting = 0; return c }())
			})
		}
	}
}

func TestALostPodIsNamedWithItsReason(t *testing.T) {
	for reason, want := range map[string]string{
		podruntime.ReasonOOM:    v1alpha1.SandboxReasonOOMKilled,
		podruntime.ReasonExited: v1alpha1.SandboxReasonPodLost,
	} {
		t.Run(reason, func(t *testing.T) {
			d, pool := opened(t, 1)
			d.reserve(boxOf("a"))
			d.Settle("uid-a", true)
			dead := podOf("pool-1", pool, podruntime.Failed)
			dead.Reason, dead.Message = reason, "the kernel ended it"
			d.Observe(podruntime.Event{Pod: dead})
			s := d.Standing("uid-a")
			d.want("reason", want, s.Reason)
			d.want("message", fmt.Sprintf(`pod "pool-1" was lost: %s: the kernel ended it`, reason), s.Message)
			if d.Counts(poolKey).Failing {
				t.Error("a pod that fails in somebody's use is not its pool's trouble")
			}
		})
	}
}

// TestAPodFailedForItsDiskSpace: the sandbox says so in its reason.
func TestAPodFailedForItsDiskSpace(t *testing.T) {
	for reason, want := range map[string]string{
		podruntime.ReasonDiskLimit:    v1alpha1.SandboxReasonDiskLimitExceeded,
		podruntime.ReasonDiskPressure: v1alpha1.SandboxReasonDiskPressure,
	} {
		d, pool := opened(t, 1)
		d.reserve(boxOf("a"))
		d.Settle("uid-a", true)
		dead := podOf("pool-1", pool, podruntime.Failed)
		dead.Reason, dead.Message = reason, "too large"
		d.Observe(podruntime.Event{Pod: dead})
		d.want("reason", want, d.Standing("uid-a").Reason)
	}
}

func TestAStoredBindingWins(t *testing.T) {
	d, _ := opened(t, 2)
	d.SetSandbox(boxOf("waits", func(s *v1alpha1.Sandbox) {}))
	d.want("granted", Granted, d.stage("waits"))
	taken := d.Standing("uid-waits").Pod.Name
	d.SetSandbox(boxOf("stored", bound(taken)))
	d.want("stored", Bound, d.stage("stored"))
	s := d.Standing("uid-waits")
	if s.Stage != Granted || s.Pod.Name == taken {
		t.Errorf("the other stands at %+v, want another pod", s)
	}
	d.SetSandbox(boxOf("second", bound(taken)))
	if s := d.Standing("uid-second"); s.Stage != Ended || !strings.Contains(s.Message, `belongs to sandbox "stored"`) {
		t.Errorf("a second binding of the same pod stands at %+v", s)
	}
	d.want("stored", Bound, d.stage("stored"))
}

func TestAnOldEventDoesNotUndoAGrant(t *testing.T) {
	d, _ := opened(t, 1)
	d.SetSandbox(boxOf("a"))
	d.Confirm("uid-a", podruntime.Key{Namespace: "ns", Name: "pool-1"}, "uid-pool-1")
	d.SetSandbox(boxOf("a"))
	d.want("a", Bound, d.stage("a"))
	if _, ok := d.GiveUp("uid-a"); ok {
		t.Error("a sandbox with a pod gave up waiting")
	}
}

// restartCase is what there is when the server comes back, and what becomes of it.
type restartCase struct {
	pods      []podruntime.Pod
	sandboxes []*v1alpha1.Sandbox
	noPool    bool
	used      bool
	stages    map[string]Stage
	unwanted  []string
	counts    Counts
	started   int
}

func restartCases(pool *v1alpha1.WarmPool) map[string]restartCase {
	other := poolOf("q", 1, func(p *v1alpha1.WarmPool) { p.Name = "other" })
	ready := func(name string, of *v1alpha1.WarmPool) podruntime.Pod { return podOf(name, of, podruntime.Ready) }
	return map[string]restartCase{
		"an unused pod is proven and idle": {
			pods: []podruntime.Pod{ready("one", pool)}, counts: Counts{Unused: 1, Ready: 1, Updated: 1},
		},
		"a used pod is let go": {
			pods: []podruntime.Pod{ready("one", pool)}, used: true,
			unwanted: []string{"one"}, started: 1, counts: Counts{Unused: 1},
		},
		"a bound pod stays bound": {
			pods: []podruntime.Pod{ready("one", pool)}, sandboxes: []*v1alpha1.Sandbox{boxOf("a", bound("one"))},
			stages: map[string]Stage{"a": Bound}, started: 1, counts: Counts{Allocated: 1, Unused: 1},
		},
		"a pod that is gone is lost": {
			sandboxes: []*v1alpha1.Sandbox{boxOf("a", bound("one"))},
			stages:    map[string]Stage{"a": Ended}, started: 1, counts: Counts{Unused: 1},
		},
		"a pod that has failed is lost": {
			pods: []podruntime.Pod{podOf("one", pool, podruntime.Failed)}, sandboxes: []*v1alpha1.Sandbox{boxOf("a", bound("one"))},
			stages: map[string]Stage{"a": Ended}, unwanted: []string{"one"}, started: 1, counts: Counts{Unused: 1},
		},
		"another pod of the name is not it": {
			pods: []podruntime.Pod{func() podruntime.Pod { p := ready("one", pool); p.UID = "new"; return p }()}, sandboxes: []*v1alpha1.Sandbox{boxOf("a", bound("one"))},
			stages: map[string]Stage{"a": Ended}, counts: Counts{Unused: 1, Ready: 1, Updated: 1},
		},
		"an orphan is let go": {
			pods: []podruntime.Pod{ready("one", other), ready("two", pool)}, unwanted: []string{"one"}, counts: Counts{Unused: 1, Ready: 1, Updated: 1},
		},
		"a pod of an earlier pool is let go": {
			pods: []podruntime.Pod{ready("one", poolOf("old", 1))}, unwanted: []string{"one"}, started: 1, counts: Counts{Unused: 1},
		},
		"an orphan in use is not": {
			pods: []podruntime.Pod{ready("one", pool)}, sandboxes: []*v1alpha1.Sandbox{boxOf("a", bound("one"))}, noPool: true,
			stages: map[string]Stage{"a": Bound},
		},
		"who waits gets what is free": {
			pods: []podruntime.Pod{ready("one", pool)}, sandboxes: []*v1alpha1.Sandbox{boxOf("a"), boxOf("b")},
			stages: map[string]Stage{"a": Granted, "b": Waiting}, started: 1, counts: Counts{Allocated: 1, Unused: 1, Waiting: 1},
		},
	}
}

func TestRestart(t *testing.T) {
	pool := poolOf("p", 1)
	for name, test := range restartCases(pool) {
		for _, podsFirst := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, podsFirst=%v", name, podsFirst), func(t *testing.T) {
				d := newDesk(t)
				tellPods := func() {
					for _, p := range test.pods {
						d.Observe(podruntime.Event{Pod: p})
					}
				}
				if podsFirst {
					tellPods()
				}
				for _, s := range test.sandboxes {
					d.SetSandbox(s)
				}
				if !test.noPool {
					d.SetPool(pool)
				}
				if !podsFirst {
					tellPods()
				}
				d.Open()
				for _, p := range test.pods {
					d.Prove(p.Key, p.UID, test.used)
				}
				d.want("started", test.started, len(d.Fill(poolKey).Start))
				for box, stage := range test.stages {
					d.want(box, stage, d.stage(box))
				}
				d.want("unwanted", test.unwanted, d.unwanted)
				d.want("counts", test.counts, d.Counts(poolKey))
			})
		}
	}
}
