package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	informers "arl.io/arl/pkg/generated/informers/externalversions"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNewNeedsWhatItNeeds(t *testing.T) {
	if _, err := scheduler.New(scheduler.Config{}); err == nil {
		t.Error("a scheduler was made of nothing")
	}
}

func TestNothingIsGivenOutBeforeAndAfterRun(t *testing.T) {
	h := schedulertest.New(t).Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	h.WaitIdle("pool", 1)
	s := h.Scheduler
	if !s.Ready() || s.Name() == "" {
		t.Error("not ready")
	}
	h.Stop()
	if s.Ready() || s.Check(nil) == nil {
		t.Error("still ready after the end")
	}
	sandbox := schedulertest.Sandbox("late", "pool")
	sandbox.UID = "late"
	if status, _ := s.Reserve(t.Context(), sandbox); status != nil {
		t.Errorf("got %+v after the end", status)
	}
}

func TestACreateWithAFreePodIsReadyAtOnce(t *testing.T) {
	h := schedulertest.New(t).Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	h.WaitIdle("pool", 1)
	created := h.CreateSandbox(schedulertest.Sandbox("box", "pool"))
	pod := h.Runtime.Pod(created.Status.PodName)
	if created.Status.Phase != v1alpha1.SandboxReady || pod == nil || pod.UID != created.Status.PodUID {
		t.Fatalf("the create answered with %+v", created.Status)
	}
	if s := created.Status; s.WorkDir != "/workspace" || s.NodeName != "here" || s.AllocatedTime == nil || s.ObservedGeneration != 1 {
		t.Errorf("the status lacks something: %+v", s)
	}
	h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool {
		return p.Status.AllocatedReplicas == 1 && p.Status.ReadyReplicas == 1
	})
}

// TestTwoHundredCreatesAgainstFiftyPods is the promise of the ledger: fifty
// distinct pods, nobody twice, the rest in line.
func TestTwoHundredCreatesAgainstFiftyPods(t *testing.T) {
	h := schedulertest.New(t).Start()
	pool := schedulertest.Pool("pool", 50)
	pool.Spec.MaxPods = ptr.To[int32](50)
	h.CreatePool(pool)
	h.WaitIdle("pool", 50)

	const creates = 200
	boxes := make([]*v1alpha1.Sandbox, creates)
	var group sync.WaitGroup
	for i := range creates {
		group.Go(func() {
			boxes[i] = h.CreateSandbox(schedulertest.Sandbox(fmt.Sprintf("box-%03d", i), "pool"))
		})
	}
	group.Wait()

	pods, waiting := map[string]string{}, 0
	for _, box := range boxes {
		if box.Status.Phase != v1alpha1.SandboxReady {
			waiting++
			continue
		}
		if other, taken := pods[box.Status.PodName]; taken {
			t.Errorf("pod %s was given to %s and %s", box.Status.PodName, other, box.Name)
		}
		pods[box.Status.PodName] = box.Name
	}
	if len(pods) != 50 || waiting != 150 {
		t.Fatalf("%d sandboxes have a pod and %d wait", len(pods), waiting)
	}
	positions := map[int32]string{}
	for _, box := range boxes {
		if box.Status.PodName != "" {
			continue
		}
		told := h.WaitSandbox(box.Name, func(s *v1alpha1.Sandbox) bool { return s.Status.QueuePosition != nil })
		positions[*told.Status.QueuePosition] = box.Name
	}
	if len(positions) != 150 || positions[1] == "" || positions[150] == "" {
		t.Errorf("%d different positions", len(positions))
	}
	if all, most := h.Runtime.Created(); all != 50 || most != 50 {
		t.Errorf("%d pods were created, %d at a time", all, most)
	}
}

// brokenRuntime cannot be run.
type brokenRuntime struct {
	*schedulertest.Runtime
	err error
}

func (b brokenRuntime) Run(context.Context, podruntime.Handler) error { return b.err }

func TestARuntimeThatDoesNotRunEndsTheScheduler(t *testing.T) {
	broken := errors.New("no cgroups here")
	for name, want := range map[string]error{"with an error": broken, "without one": nil} {
		t.Run(name, func(t *testing.T) {
			h := schedulertest.New(t)
			s, err := scheduler.New(scheduler.Config{
				Client:    h.API,
				Informers: informers.NewSharedInformerFactory(h.API, 0),
				Runtime:   brokenRuntime{h.Runtime, want},
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Run(t.Context()); err == nil || !errors.Is(err, want) && want != nil {
				t.Errorf("got %v, want %v", err, want)
			}
		})
	}
}
