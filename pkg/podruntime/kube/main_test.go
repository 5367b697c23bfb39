package kube

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/podruntime"
)

// deadline is far above what anything here takes on a busy machine.
const deadline = 60 * time.Second

// space is the namespace of all tests.
const space = "space"

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if builtDir != "" {
		os.RemoveAll(builtDir)
	}
	os.Exit(code)
}

// builtDir holds what the tests have built, until they end.
var builtDir string

// agentBinary builds the agent, once for all tests.
var agentBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "arl-agent-")
	if err != nil {
		return "", err
	}
	builtDir = dir
	path := filepath.Join(dir, "arl-agent")
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, "arl.io/arl/cmd/agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

// recorder keeps what a runtime tells.
type recorder struct {
	t       testing.TB
	mu      sync.Mutex
	changed chan struct{}
	events  []podruntime.Event
	// synced is how many events were told before PodsSynced; -1 before it.
	synced int
}

func newRecorder(t testing.TB) *recorder {
	return &recorder{t: t, changed: make(chan struct{}), synced: -1}
}

func (h *recorder) PodChanged(event podruntime.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, event)
	h.notifyLocked()
}

func (h *recorder) PodsSynced() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.synced >= 0 {
		h.t.Error("PodsSynced was called twice")
	}
	h.synced = len(h.events)
	h.notifyLocked()
}

func (h *recorder) notifyLocked() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// await returns when done says so about what was told.
func (h *recorder) await(what string, done func([]podruntime.Event) bool) {
	h.t.Helper()
	timeout := time.After(deadline)
	for {
		h.mu.Lock()
		ok, changed := done(h.events), h.changed
		h.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			h.mu.Lock()
			defer h.mu.Unlock()
			h.t.Fatalf("waited in vain for %s; told: %+v", what, h.events)
		}
	}
}

// pod waits until what was last told of a pod is in a phase, for a reason.
func (h *recorder) pod(name string, phase podruntime.Phase, reason string) podruntime.Pod {
	h.t.Helper()
	var found podruntime.Pod
	h.await(fmt.Sprintf("pod %s to be %s %q", name, phase, reason), func(events []podruntime.Event) bool {
		last := lastOf(events, name)
		if last == nil || last.Deleted || last.Pod.Phase != phase || last.Pod.Reason != reason {
			return false
		}
		found = last.Pod
		return true
	})
	return found
}

// gone waits until a pod was told to be gone.
func (h *recorder) gone(name string) podruntime.Pod {
	h.t.Helper()
	var found podruntime.Pod
	h.await("pod "+name+" to be gone", func(events []podruntime.Event) bool {
		last := lastOf(events, name)
		if last == nil || !last.Deleted {
			return false
		}
		found = last.Pod
		return true
	})
	return found
}

func lastOf(events []podruntime.Event, name string) *podruntime.Event {
	for i := range slices.Backward(events) {
		if events[i].Pod.Name == name {
			return &events[i]
		}
	}
	return nil
}

// told returns all that was told of a pod.
func (h *recorder) told(name string) []podruntime.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	var told []podruntime.Event
	for _, event := range h.events {
		if event.Pod.Name == name {
			told = append(told, event)
		}
	}
	return told
}

// harness is a runtime that runs on a cluster.
type harness struct {
	*recorder
	cluster *cluster
	runtime *Runtime
	config  Config
	stop    func()
}

// start runs a runtime on a new cluster.
func start(t testing.TB, changes ...func(*Config)) *harness {
	t.Helper()
	return startOn(t, newCluster(t), changes...)
}

// startOn runs a runtime on a cluster until the end of the test, or stop is called.
func startOn(t testing.TB, c *cluster, changes ...func(*Config)) *harness {
	t.Helper()
	config := Config{Client: c.client, Records: c.records, Image: "arl:test", Port: c.port, Credentials: c.credentials, Reach: Direct, StartTimeout: deadline}
	for _, change := range changes {
		change(&config)
	}
	r, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{recorder: newRecorder(t), cluster: c, runtime: r, config: config}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	watching := c.awaitWatch(max(1, len(config.Namespaces)))
	go func() { ended <- r.Run(ctx, h.recorder) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(h.stop)
	h.await("the pods to be synced", func([]podruntime.Event) bool { return h.synced >= 0 })
	<-watching
	return h
}

func key(name string) podruntime.Key { return podruntime.Key{Namespace: space, Name: name} }

// spec returns the spec of a pod that runs nothing of its own.
func spec(name string) podruntime.Spec {
	return podruntime.Spec{
		Key: key(name), Pool: "pool", PoolUID: "pool-uid", TemplateHash: "hash", WorkDir: "/workspace",
		Template: &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "image"}}}},
	}
}

// create creates a pod.
func (h *harness) create(name string) podruntime.Pod {
	h.t.Helper()
	created, err := h.runtime.Create(h.t.Context(), spec(name))
	if err != nil {
		h.t.Fatal(err)
	}
	return created
}

// ready creates a pod, has the cluster start it, and waits until it is Ready.
func (h *harness) ready(name string) podruntime.Pod {
	h.t.Helper()
	h.create(name)
	h.cluster.run(name)
	return h.pod(name, podruntime.Ready, "")
}

// echo runs a command in a pod.
func (h *harness) echo(name string, uid types.UID) error {
	agent, err := h.runtime.Agent(key(name), uid)
	if err != nil {
		return err
	}
	result, err := agent.Run(h.t.Context(), wire.Execution{
		ID:    "task-" + name,
		Steps: []wire.Step{{Name: "echo", Type: wire.StepCommand, Command: []string{"echo", "hello"}}},
	}, nil)
	if err != nil {
		return err
	}
	if got := string(result.Stdout); got != "hello\n" {
		return fmt.Errorf("the command wrote %q: %s", got, result.Message)
	}
	return nil
}
