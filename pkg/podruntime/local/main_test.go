package local

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/podruntime"
)

// deadline is far above what anything here takes on a busy machine.
const deadline = 60 * time.Second

func TestMain(m *testing.M) {
	InitProcess()
	code := m.Run()
	if builtDir != "" {
		os.RemoveAll(builtDir)
	}
	os.Exit(code)
}

// builtDir holds what the tests have built, until they end.
var builtDir string

// binariesEnv names a folder with arl-agent and helper, built before. It lets a
// compiled test run as another user, who has no Go.
const binariesEnv = "ARL_TEST_BINARIES"

// agentBinary builds the agent, once for all tests.
var agentBinary = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv(binariesEnv); dir != "" {
		return filepath.Join(dir, "arl-agent"), nil
	}
	dir, err := os.MkdirTemp("", "arl-agent-")
	if err != nil {
		return "", err
	}
	builtDir = dir
	// Whoever a container maps to must get at it.
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
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
	mu      sync.Mutex
	changed chan struct{}
	events  []podruntime.Event
	synced  bool
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
	h.synced = true
	h.notifyLocked()
}

func (h *recorder) notifyLocked() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// await returns when done says so about what was told.
func (h *recorder) await(t testing.TB, what string, done func() bool) {
	t.Helper()
	timeout := time.After(deadline)
	for {
		h.mu.Lock()
		ok, changed := done(), h.changed
		h.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			h.mu.Lock()
			defer h.mu.Unlock()
			t.Fatalf("waited in vain for %s; told: %+v", what, h.events)
		}
	}
}

// pod waits until the pod of that name is in one of phases, and returns it.
func (h *recorder) pod(t testing.TB, name string, phases ...podruntime.Phase) podruntime.Pod {
	t.Helper()
	var found podruntime.Pod
	h.await(t, fmt.Sprintf("pod %s to be %v", name, phases), func() bool {
		for _, event := range h.events {
			if event.Pod.Name != name || event.Deleted {
				continue
			}
			for _, phase := range phases {
				if event.Pod.Phase == phase {
					found = event.Pod
					return true
				}
			}
		}
		return false
	})
	return found
}

func (h *recorder) gone(t testing.TB, name string) {
	t.Helper()
	h.await(t, "pod "+name+" to be gone", func() bool {
		for _, event := range h.events {
			if event.Pod.Name == name && event.Deleted {
				return true
			}
		}
		return false
	})
}

// fixture is a runtime that runs.
type fixture struct {
	*Runtime
	*recorder
	t    testing.TB
	stop func()
}

// start runs a runtime until the test ends or stop is called.
func start(t testing.TB, config Config) *fixture {
	t.Helper()
	return startTuned(t, config, func(*Runtime) {})
}

// startTuned lets tune change the runtime before it runs.
func startTuned(t testing.TB, config Config, tune func(*Runtime)) *fixture {
	t.Helper()
	agent, err := agentBinary()
	if err != nil {
		t.Fatalf("building the agent: %v", err)
	}
	if config.AgentPath == "" {
		config.AgentPath = agent
	}
	config.AllowHostImage = true
	runtime, err := New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	tune(runtime)
	f := &fixture{Runtime: runtime, recorder: &recorder{changed: make(chan struct{})}, t: t}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- runtime.Run(ctx, f.recorder) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(f.stop)
	f.await(t, "PodsSynced", func() bool { return f.synced })
	return f
}

// removeAll deletes all pods, so that a test leaves nothing behind.
func (f *fixture) removeAll() {
	f.t.Helper()
	f.Runtime.mu.Lock()
	var pods []podruntime.Key
	for key := range f.pods {
		pods = append(pods, key)
	}
	f.Runtime.mu.Unlock()
	for _, key := range pods {
		if err := f.Delete(f.t.Context(), key, ""); err != nil {
			f.t.Error(err)
		}
	}
	for _, key := range pods {
		f.gone(f.t, key.Name)
	}
}

// needContainers skips where the machine cannot run one.
func needContainers(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts containers; not in short mode")
	}
	if err := exec.Command("unshare", "-rm", "true").Run(); err != nil {
		t.Skipf("this machine does not let us make user and mount namespaces: %v", err)
	}
}

// hostSpec is a pod on the machine's own files.
func hostSpec(name string) podruntime.Spec {
	return podSpec(name, "host")
}

func podSpec(name, image string) podruntime.Spec {
	return podruntime.Spec{
		Key:  podruntime.Key{Namespace: "default", Name: name},
		Pool: "pool", PoolUID: "pool-uid", TemplateHash: "hash", WorkDir: "/workspace",
		Template: &corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: podruntime.ExecutorContainer, Image: image}},
		}},
	}
}

// create makes a pod and waits until it is Ready.
func (f *fixture) create(spec podruntime.Spec) podruntime.Pod {
	f.t.Helper()
	if _, err := f.Create(f.t.Context(), spec); err != nil {
		f.t.Fatal(err)
	}
	pod := f.pod(f.t, spec.Name, podruntime.Ready, podruntime.Failed)
	if pod.Phase != podruntime.Ready {
		f.t.Fatalf("pod %s: %s: %s", spec.Name, pod.Reason, pod.Message)
	}
	return pod
}

// run runs a shell command in a pod and returns its output and exit code.
func (f *fixture) run(pod podruntime.Pod, script string) (string, int32) {
	f.t.Helper()
	return f.exec(pod, "/bin/sh", "-c", script)
}

func (f *fixture) exec(pod podruntime.Pod, command ...string) (string, int32) {
	f.t.Helper()
	agent, err := f.Agent(pod.Key, pod.UID)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(f.t.Context(), deadline)
	defer cancel()
	ex := execution("test-"+uuid.NewString(), command...)
	ex.WorkDir = pod.WorkDir
	result, err := agent.Run(ctx, ex, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	code := int32(-1)
	if result.ExitCode != nil {
		code = *result.ExitCode
	}
	return string(result.Stdout) + string(result.Stderr), code
}

func execution(id string, command ...string) wire.Execution {
	return wire.Execution{ID: id, Steps: []wire.Step{{Name: "step", Type: wire.StepCommand, Command: command}}}
}

// eventually waits until done says so. It asks again and again, for want of
// anything in a container that would tell.
func (f *fixture) eventually(what string, done func() bool) {
	f.t.Helper()
	for begun := time.Now(); !done(); {
		if time.Since(begun) > deadline {
			f.t.Fatalf("waited in vain for %s", what)
		}
	}
}
