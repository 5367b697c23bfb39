package schedulertest

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	informers "arl.io/arl/pkg/generated/informers/externalversions"
	"arl.io/arl/pkg/scheduler"
)

// Namespace is where everything lives.
const Namespace = "default"

// patience bounds what a test waits for. It is long: the machine may be busy.
const patience = 90 * time.Second

// Harness is an API, a runtime and a Scheduler between them.
type Harness struct {
	TB        testing.TB
	API       *API
	Runtime   *Runtime
	Scheduler *scheduler.Scheduler
	// Clock is set if time stands still but for Pass.
	Clock  *testingclock.FakeClock
	config scheduler.Config
	stop   func()
}

// New returns a harness whose Scheduler does not run yet. Time is real.
func New(tb testing.TB) *Harness {
	return newHarness(tb, clock.RealClock{}, nil)
}

// NewFrozen is New with a clock that stands still but for Pass.
func NewFrozen(tb testing.TB) *Harness {
	frozen := testingclock.NewFakeClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	return newHarness(tb, frozen, frozen)
}

func newHarness(tb testing.TB, c clock.WithTicker, frozen *testingclock.FakeClock) *Harness {
	h := &Harness{TB: tb, API: NewAPI(c), Runtime: NewRuntime(c), Clock: frozen, config: scheduler.Config{Clock: c}}
	tb.Cleanup(func() {
		h.Stop()
		h.Runtime.Close()
	})
	return h
}

// Configure changes the Scheduler's configuration before Start.
func (h *Harness) Configure(change func(*scheduler.Config)) *Harness {
	change(&h.config)
	return h
}

// Start runs a new Scheduler and waits until it is ready.
func (h *Harness) Start() *Harness {
	h.TB.Helper()
	h.StartUnready()
	h.Eventually("the scheduler is ready", func() error { return h.Scheduler.Check(nil) })
	return h
}

// StartUnready runs a new Scheduler.
func (h *Harness) StartUnready() {
	h.TB.Helper()
	config := h.config
	config.Client, config.Runtime = h.API, h.Runtime
	config.Informers = informers.NewSharedInformerFactory(h.API, 0)
	s, err := scheduler.New(config)
	if err != nil {
		h.TB.Fatal(err)
	}
	h.Scheduler = s
	h.API.SetReserver(s)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	h.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			h.TB.Errorf("the scheduler ended with: %v", err)
		}
	}
}

// Stop ends the Scheduler, at whatever it is. The API and the pods go on.
func (h *Harness) Stop() {
	if h.stop != nil {
		h.API.SetReserver(nil)
		h.stop()
		h.stop = nil
	}
}

// Restart is Stop and Start.
func (h *Harness) Restart() {
	h.TB.Helper()
	h.Stop()
	h.Start()
}

// Pass lets time pass, in steps, so that timers that are set on the way fire, too.
func (h *Harness) Pass(d time.Duration) {
	const steps = 10
	for range steps {
		h.Clock.Step(d / steps)
	}
}

// Eventually waits until check returns no error.
func (h *Harness) Eventually(what string, check func() error) {
	h.TB.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			h.TB.Fatalf("%s: not within %s: %v", what, patience, err)
		}
		<-time.After(time.Millisecond)
	}
}

// Pool returns a pool of so many replicas, not created yet.
func Pool(name string, replicas int32) *v1alpha1.WarmPool {
	return &v1alpha1.WarmPool{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name},
		Spec: v1alpha1.WarmPoolSpec{
			Replicas: ptr.To(replicas),
			WorkDir:  "/workspace",
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "host"}}}},
		},
	}
}

// Sandbox returns a sandbox that is kept alive, not created yet.
func Sandbox(name, pool string) *v1alpha1.Sandbox {
	return &v1alpha1.Sandbox{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name},
		Spec:       v1alpha1.SandboxSpec{PoolRef: pool, KeepAlive: true},
	}
}

// Task returns a task of one command, not created yet.
func Task(name, sandbox string, command ...string) *v1alpha1.Task {
	if len(command) == 0 {
		command = []string{name}
	}
	return &v1alpha1.Task{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name},
		Spec: v1alpha1.TaskSpec{
			SandboxRef: sandbox,
			Steps:      []v1alpha1.TaskStep{{Name: "main", Type: v1alpha1.StepCommand, Command: command}},
			Timeout:    "5m",
		},
	}
}

// CreatePool creates a pool.
func (h *Harness) CreatePool(pool *v1alpha1.WarmPool) *v1alpha1.WarmPool {
	h.TB.Helper()
	return must(h, h.API.ArlV1alpha1().WarmPools(Namespace).Create)(pool)
}

// CreateSandbox creates a sandbox.
func (h *Harness) CreateSandbox(sandbox *v1alpha1.Sandbox) *v1alpha1.Sandbox {
	h.TB.Helper()
	return must(h, h.API.ArlV1alpha1().Sandboxes(Namespace).Create)(sandbox)
}

// CreateTask creates a task.
func (h *Harness) CreateTask(task *v1alpha1.Task) *v1alpha1.Task {
	h.TB.Helper()
	return must(h, h.API.ArlV1alpha1().Tasks(Namespace).Create)(task)
}

func must[T any](h *Harness, create func(context.Context, T, metav1.CreateOptions) (T, error)) func(T) T {
	return func(obj T) T {
		h.TB.Helper()
		created, err := create(context.Background(), obj, metav1.CreateOptions{})
		if err != nil {
			h.TB.Fatal(err)
		}
		return created
	}
}

// WaitPool waits until a pool is as the check wants it, and returns it.
func (h *Harness) WaitPool(name string, check func(*v1alpha1.WarmPool) bool) *v1alpha1.WarmPool {
	h.TB.Helper()
	return wait(h, name, h.API.ArlV1alpha1().WarmPools(Namespace).Get, check)
}

// WaitIdle waits until so many pods of a pool are idle and ready.
func (h *Harness) WaitIdle(name string, idle int32) *v1alpha1.WarmPool {
	h.TB.Helper()
	return h.WaitPool(name, func(p *v1alpha1.WarmPool) bool {
		return p.Status.ReadyReplicas == idle && p.Status.Replicas == idle
	})
}

// WaitSandbox waits until a sandbox is as the check wants it, and returns it.
func (h *Harness) WaitSandbox(name string, check func(*v1alpha1.Sandbox) bool) *v1alpha1.Sandbox {
	h.TB.Helper()
	return wait(h, name, h.API.ArlV1alpha1().Sandboxes(Namespace).Get, check)
}

// WaitPhase waits until a sandbox is in a phase.
func (h *Harness) WaitPhase(name string, phase v1alpha1.SandboxPhase) *v1alpha1.Sandbox {
	h.TB.Helper()
	return h.WaitSandbox(name, func(s *v1alpha1.Sandbox) bool { return s.Status.Phase == phase })
}

// WaitTask waits until a task is as the check wants it, and returns it.
func (h *Harness) WaitTask(name string, check func(*v1alpha1.Task) bool) *v1alpha1.Task {
	h.TB.Helper()
	return wait(h, name, h.API.ArlV1alpha1().Tasks(Namespace).Get, check)
}

// WaitState waits until a task is in a state.
func (h *Harness) WaitState(name string, state v1alpha1.TaskState) *v1alpha1.Task {
	h.TB.Helper()
	return h.WaitTask(name, func(t *v1alpha1.Task) bool { return t.Status.State == state })
}

// Gone waits until the getter finds nothing of the name.
func Gone[T any](h *Harness, name string, get func(context.Context, string, metav1.GetOptions) (T, error)) {
	h.TB.Helper()
	h.Eventually(name+" is gone", func() error {
		if _, err := get(context.Background(), name, metav1.GetOptions{}); err == nil {
			return fmt.Errorf("it is there")
		}
		return nil
	})
}

func wait[T any](h *Harness, name string, get func(context.Context, string, metav1.GetOptions) (T, error), check func(T) bool) T {
	h.TB.Helper()
	var found T
	h.Eventually(name, func() error {
		obj, err := get(context.Background(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !check(obj) {
			return fmt.Errorf("it is %+v", obj)
		}
		found = obj
		return nil
	})
	return found
}
