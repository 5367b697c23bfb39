package local

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/local/launch"
)

func TestPodRunsCommands(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir()})
	created, err := f.Create(t.Context(), hostSpec("one"))
	if err != nil {
		t.Fatal(err)
	}
	if created.Phase != podruntime.Starting || created.UID == "" {
		t.Errorf("Create returned %+v, want a pod that is Starting and has a UID", created)
	}
	pod := f.pod(t, "one", podruntime.Ready)
	want := created
	want.Phase, want.Message = podruntime.Ready, ""
	if diff := cmp.Diff(want, pod); diff != "" {
		t.Errorf("the pod that is Ready differs from the created one (-want +got):\n%s", diff)
	}
	out, code := f.run(pod, "echo hello from $(hostname); pwd; id -u; exit 7")
	if want := "hello from one\n/workspace\n0\n"; code != 7 || out != want {
		t.Errorf("exit code %d, output %q, want 7 and %q", code, out, want)
	}
	if err := f.Delete(t.Context(), pod.Key, pod.UID); err != nil {
		t.Fatal(err)
	}
	f.gone(t, "one")
	if _, err := f.Agent(pod.Key, pod.UID); !errors.Is(err, podruntime.ErrNotFound) {
		t.Errorf("Agent of a pod that is gone: %v, want ErrNotFound", err)
	}
	if err := f.Delete(t.Context(), pod.Key, pod.UID); !errors.Is(err, podruntime.ErrNotFound) {
		t.Errorf("Delete of a pod that is gone: %v, want ErrNotFound", err)
	}
}

// TestCommandCannotStart has a template whose command the image does not have.
func TestCommandCannotStart(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir()})
	defer f.removeAll()
	spec := hostSpec("one")
	spec.Template.Spec.Containers[0].Command = []string{"/no/such/program"}
	if _, err := f.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	failed := f.pod(t, "one", podruntime.Failed)
	if want := "the template's command cannot be started: /no/such/program: no such file"; failed.Reason != podruntime.ReasonStart || failed.Message != want {
		t.Errorf("the pod says %s: %q, want %q", failed.Reason, failed.Message, want)
	}
}

func TestKeysAndUIDs(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir()})
	defer f.removeAll()
	pod := f.create(hostSpec("one"))
	if _, err := f.Create(t.Context(), hostSpec("one")); !errors.Is(err, podruntime.ErrExists) {
		t.Errorf("Create of a key that is taken: %v, want ErrExists", err)
	}
	if err := f.Delete(t.Context(), pod.Key, "other"); !errors.Is(err, podruntime.ErrNotFound) {
		t.Errorf("Delete with another UID: %v, want ErrNotFound", err)
	}
	if _, err := f.Agent(pod.Key, "other"); !errors.Is(err, podruntime.ErrNotFound) {
		t.Errorf("Agent with another UID: %v, want ErrNotFound", err)
	}
	if _, err := f.Agent(pod.Key, ""); err != nil {
		t.Errorf("Agent without a UID: %v", err)
	}
}

func TestPodsAreAdopted(t *testing.T) {
	needContainers(t)
	dir := t.TempDir()
	first := start(t, Config{Dir: dir})
	pod := first.create(hostSpec("kept"))
	dies := first.create(hostSpec("dies"))
	if out, code := first.run(pod, "echo state > /workspace/file; sleep 1000 >/dev/null 2>&1 & echo $!"); code != 0 {
		t.Fatalf("exit code %d, output %q", code, out)
	}
	first.stop()
	process := processOf(t, first, dies)
	if err := unix.Kill(process.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}

	second := start(t, Config{Dir: dir})
	defer second.removeAll()
	adopted := second.pod(t, "kept", podruntime.Ready)
	if diff := cmp.Diff(pod, adopted, equateTimes); diff != "" {
		t.Errorf("adopted pod differs (-want +got):\n%s", diff)
	}
	if out, code := second.run(adopted, "cat /workspace/file"); code != 0 || out != "state\n" {
		t.Errorf("exit code %d, output %q: the adopted pod is another one", code, out)
	}
	if failed := second.pod(t, "dies", podruntime.Failed); failed.Reason != podruntime.ReasonExited {
		t.Errorf("a pod that died meanwhile has reason %q (%s), want %q", failed.Reason, failed.Message, podruntime.ReasonExited)
	}
	for _, event := range second.recorder.events[:2] {
		if event.Deleted {
			t.Errorf("told of a deletion at start: %+v", event)
		}
	}
}

// equateTimes compares times by the instant: JSON drops the monotonic clock.
var equateTimes = cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })

func processOf(t testing.TB, f *fixture, pod podruntime.Pod) launch.Process {
	t.Helper()
	process, err := launch.ReadProcess(f.podPath(pod.UID, processName))
	if err != nil {
		t.Fatal(err)
	}
	return process
}

func TestDeathIsNoticed(t *testing.T) {
	needContainers(t)
	for _, adopt := range []bool{false, true} {
		name := "of a pod just started"
		if adopt {
			name = "of an adopted pod"
		}
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f := start(t, Config{Dir: dir})
			pod := f.create(hostSpec("one"))
			if adopt {
				f.stop()
				f = start(t, Config{Dir: dir})
				f.pod(t, "one", podruntime.Ready)
			}
			defer f.removeAll()
			if err := unix.Kill(processOf(t, f, pod).PID, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			failed := f.pod(t, "one", podruntime.Failed)
			if failed.Reason != podruntime.ReasonExited || failed.Message == "" {
				t.Errorf("reason %q, message %q, want %q and a message", failed.Reason, failed.Message, podruntime.ReasonExited)
			}
			if _, err := f.Agent(pod.Key, pod.UID); !errors.Is(err, podruntime.ErrNotFound) {
				t.Errorf("Agent of a failed pod: %v, want ErrNotFound", err)
			}
		})
	}
}

// TestHalfMadePods puts into the pods folder what a server that was killed in
// the middle of a start leaves there.
func TestHalfMadePods(t *testing.T) {
	needContainers(t)
	dir := t.TempDir()
	first := start(t, Config{Dir: dir})
	pod := first.create(hostSpec("whole"))
	first.removeAll()
	first.stop()

	half := pod
	half.Name, half.UID, half.Phase = "half", "11111111-0000-0000-0000-000000000000", podruntime.Starting
	if err := os.Mkdir(first.podDir(half.UID), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := first.save(newPod(half, launch.Cgroup{Parent: first.config.CgroupParent}, nil), half); err != nil {
		t.Fatal(err)
	}
	// A number that is another process's now must not be killed.
	self, err := launch.Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	self.StartTime--
	written, err := json.Marshal(self)
	if err != nil {
		t.Fatal(err)
	}
	reused := half
	reused.Name, reused.UID = "reused", "22222222-0000-0000-0000-000000000000"
	if err := os.Mkdir(first.podDir(reused.UID), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := first.save(newPod(reused, launch.Cgroup{Parent: first.config.CgroupParent}, nil), reused); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(first.podPath(reused.UID, processName), written, 0o600); err != nil {
		t.Fatal(err)
	}
	nameless := filepath.Join(dir, podsName, "33333333-0000-0000-0000-000000000000")
	if err := os.MkdirAll(filepath.Join(nameless, "upper"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, trashName, "old"), 0o700); err != nil {
		t.Fatal(err)
	}

	second := start(t, Config{Dir: dir})
	if got := second.pod(t, "half", podruntime.Failed); got.Reason != podruntime.ReasonStart || !strings.Contains(got.Message, "server ended") {
		t.Errorf("half made pod: reason %q, message %q", got.Reason, got.Message)
	}
	if got := second.pod(t, "reused", podruntime.Failed); got.Reason != podruntime.ReasonExited {
		t.Errorf("pod whose process number is another's: reason %q, message %q", got.Reason, got.Message)
	}
	second.removeAll()
	second.stop()
	if found := leftovers(t, dir, second.config.CgroupParent); len(found) > 0 {
		t.Errorf("left behind: %q", found)
	}
}

func TestTemplateIsHonoured(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir()})
	defer f.removeAll()
	spec := hostSpec("pod")
	spec.WorkDir = "/deep/er/work"
	spec.Template.Spec.Hostname = "named"
	spec.Template.Spec.HostAliases = []corev1.HostAlias{{IP: "127.0.0.2", Hostnames: []string{"alias"}}}
	spec.Template.Spec.Volumes = []corev1.Volume{
		{Name: "disk", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "memory", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}},
	}
	container := &spec.Template.Spec.Containers[0]
	container.Command = []string{"/bin/sh", "-c", "echo \"$GREETING from $(pwd)\" > /disk/main; sleep 1000"}
	container.WorkingDir = "/start"
	container.Env = []corev1.EnvVar{{Name: "NAME", Value: "world"}, {Name: "GREETING", Value: "hello $(NAME) $$(NAME)"}}
	container.VolumeMounts = []corev1.VolumeMount{
		{Name: "disk", MountPath: "/disk"}, {Name: "disk", MountPath: "/read", ReadOnly: true}, {Name: "memory", MountPath: "/memory"},
	}
	pod := f.create(spec)
	f.eventually("the template's command to write", func() bool {
		out, _ := f.run(pod, "cat /disk/main")
		return out == "hello world $(NAME) from /start\n"
	})
	tests := []struct{ name, script, want string }{
		{"working directory", "pwd", "/deep/er/work\n"},
		{"environment", "echo $NAME", "world\n"},
		{"hostname", "hostname", "named\n"},
		{"aliases", "grep alias /etc/hosts", "127.0.0.2\talias\n"},
		{"volume in two places", "echo x > /disk/file && cat /read/file", "x\n"},
		{"read-only place", "touch /read/new 2>/dev/null || echo refused", "refused\n"},
		{"volume in memory", "stat -f -c %T /memory; echo x > /memory/file && cat /memory/file", "tmpfs\nx\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if out, _ := f.run(pod, test.script); out != test.want {
				t.Errorf("output %q, want %q", out, test.want)
			}
		})
	}
}

func TestUserOfTheTemplate(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir()})
	defer f.removeAll()
	spec := hostSpec("pod")
	user, group := int64(1234), int64(4321)
	spec.Template.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &user, RunAsGroup: &group}
	if f.machine.rootless {
		if _, err := f.Create(t.Context(), spec); !errors.Is(err, podruntime.ErrInvalid) {
			t.Errorf("a rootless server took a pod of user 1234: %v", err)
		}
		return
	}
	pod := f.create(spec)
	out, code := f.run(pod, "id -u; id -g; touch file && stat -c '%u %g' file; grep CapEff /proc/self/status | tr -d '\\t '")
	if want := "1234\n4321\n1234 4321\nCapEff:0000000000000000\n"; code != 0 || out != want {
		t.Errorf("exit code %d, output %q, want %q", code, out, want)
	}
}

func TestLongDataDirectory(t *testing.T) {
	needContainers(t)
	dir := filepath.Join(t.TempDir(), strings.Repeat("long-name/", 15), "with space, comma:colon")
	f := start(t, Config{Dir: dir})
	defer f.removeAll()
	if out, _ := f.run(f.create(hostSpec("one")), "echo works"); out != "works\n" {
		t.Errorf("output %q", out)
	}
}

func TestStartFails(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir()})
	spec := hostSpec("bad")
	// There is no such directory on the machine, and it cannot be made.
	spec.WorkDir = "/usr/not-there/work"
	if _, err := f.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	failed := f.pod(t, "bad", podruntime.Failed)
	if failed.Reason != podruntime.ReasonStart || !strings.Contains(failed.Message, "read-only") {
		t.Errorf("reason %q, message %q", failed.Reason, failed.Message)
	}
	f.removeAll()
	if found := leftovers(t, f.config.Dir, f.config.CgroupParent); len(found) > 0 {
		t.Errorf("left behind: %q", found)
	}
}

func TestAgentThatIsNone(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir(), AgentPath: "/bin/true"})
	if _, err := f.Create(t.Context(), hostSpec("bad")); err != nil {
		t.Fatal(err)
	}
	failed := f.pod(t, "bad", podruntime.Failed)
	if failed.Reason != podruntime.ReasonStart || !strings.Contains(failed.Message, "ended") {
		t.Errorf("reason %q, message %q", failed.Reason, failed.Message)
	}
	f.removeAll()
}

func TestRunOnce(t *testing.T) {
	needContainers(t)
	before := goleak.IgnoreCurrent()
	f := start(t, Config{Dir: t.TempDir()})
	if err := f.Run(t.Context(), f.recorder); err == nil {
		t.Error("a second Run returned no error")
	}
	kept := f.create(hostSpec("kept"))
	f.stop()
	if _, err := f.Create(t.Context(), hostSpec("late")); err == nil {
		t.Error("Create after Run returned no error")
	}
	goleak.VerifyNone(t, before)
	f = start(t, Config{Dir: f.config.Dir})
	f.pod(t, kept.Name, podruntime.Ready)
	f.removeAll()
}

// TestLauncher starts a pod by the small program instead of this one.
func TestLauncher(t *testing.T) {
	needContainers(t)
	if os.Getenv(binariesEnv) != "" {
		t.Skip("builds the launcher, and there is no Go here")
	}
	agent, err := agentBinary()
	if err != nil {
		t.Fatal(err)
	}
	launcher := filepath.Join(filepath.Dir(agent), launcherName)
	if out, err := exec.Command("go", "build", "-o", launcher, "arl.io/arl/cmd/launcher").CombinedOutput(); err != nil {
		t.Fatalf("building the launcher: %v\n%s", err, out)
	}
	defer os.Remove(launcher)
	f := start(t, Config{Dir: t.TempDir()})
	defer f.removeAll()
	if f.config.LauncherPath != launcher {
		t.Fatalf("the launcher beside the agent is not used: %q", f.config.LauncherPath)
	}
	if out, code := f.run(f.create(hostSpec("one")), "echo works"); code != 0 || out != "works\n" {
		t.Errorf("exit code %d, output %q", code, out)
	}
	f.config.LauncherPath = "/bin/true"
	if _, err := f.Create(t.Context(), hostSpec("two")); err != nil {
		t.Fatal(err)
	}
	if failed := f.pod(t, "two", podruntime.Failed); !strings.Contains(failed.Message, "launcher gave no answer") {
		t.Errorf("message %q", failed.Message)
	}
}
