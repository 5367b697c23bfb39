package local

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"arl.io/arl/pkg/podruntime"
)

// sharable are files of the machine that a pod of the image "host" is shown, its agent, and devices.
// The second path is the one in the pod.
func sharable(f *fixture) map[string]string {
	files := map[string]string{f.config.AgentPath: agentTarget}
	for _, name := range []string{
		"/usr/lib/os-release", "/etc/passwd", "/var/lib/dpkg/status", "/dev/null", "/dev/zero", "/dev/urandom", "/dev/tty", "/dev/full", "/dev/random",
	} {
		if _, err := os.Stat(name); err == nil {
			files[name] = name
		}
	}
	return files
}

// holder takes every lock and watch that a process can have on files that it may only read, says what
// it got, and after a line of input says which of them saw somebody else. It prints paths only.
const holder = `
import ctypes, fcntl, json, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
paths, own = json.loads(sys.argv[1]), "/tmp/own"
open(own, "w").close()
watcher, names = libc.inotify_init1(os.O_NONBLOCK), {}
held = []
for path in paths + [own]:
    if path != "/dev/tty":
        fd = os.open(path, os.O_RDONLY | os.O_NOCTTY)
        held.append(fd)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not path.startswith("/dev/"):
            fcntl.fcntl(fd, 37, struct.pack("hhqqi", fcntl.F_RDLCK, 0, 0, 0, 0))  # F_OFD_SETLK
        try:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError:
            pass
    names[libc.inotify_add_watch(watcher, path.encode(), 0xfff)] = path
open("/tmp/holding", "w").close()
os.mkfifo("/tmp/go")
open("/tmp/go").read()
open(own).close()
seen = set()
while own not in seen:
    data = os.read(watcher, 1 << 16)
    while data:
        wd, _, _, length = struct.unpack("iIII", data[:16])
        seen.add(names[wd])
        data = data[16 + length:]
open("/tmp/seen", "w").write(json.dumps(sorted(seen - {own})))
`

// TestLocksAndWatchesStayInThePod has a pod lock and watch all it is shown of the machine. The machine
// can lock the same files, and what it does with them is not seen in the pod.
func TestLocksAndWatchesStayInThePod(t *testing.T) {
	needContainers(t)
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("needs python3")
	}
	if os.Geteuid() != 0 {
		t.Skip("a server that is not root cannot make device nodes: they are shared")
	}
	f := start(t, Config{Dir: t.TempDir()})
	defer f.removeAll()
	pod := f.create(hostSpec("holder"))
	files := sharable(f)
	var paths []string
	for _, inPod := range files {
		paths = append(paths, inPod)
	}
	slices.Sort(paths)
	argument, err := json.Marshal(paths)
	if err != nil {
		t.Fatal(err)
	}
	if out, code := f.run(pod, "cat > /tmp/holder.py <<'EOF'"+holder+"EOF\nsetsid python3 /tmp/holder.py '"+string(argument)+"' >/tmp/out 2>&1 & echo begun"); code != 0 {
		t.Fatalf("exit code %d, output %q", code, out)
	}
	await := func(file string) string {
		t.Helper()
		var out string
		f.eventually(file+" in the pod", func() bool {
			text, code := f.run(pod, "if grep . /tmp/out >&2; then exit 0; fi; cat "+file)
			out = text
			return code == 0
		})
		return out
	}
	if out := await("/tmp/holding"); out != "" {
		t.Fatalf("the holder failed: %s", out)
	}
	for name := range files {
		if name != "/dev/tty" {
			lockAndUse(t, name)
		}
	}
	if out, code := f.run(pod, "echo > /tmp/go"); code != 0 {
		t.Fatalf("exit code %d, output %q", code, out)
	}
	// The pod's own shells use its /dev/null and its /etc/passwd.
	var seen []string
	if err := json.Unmarshal([]byte(await("/tmp/seen")), &seen); err != nil {
		t.Fatal(err)
	}
	for _, path := range seen {
		if !slices.Contains([]string{"/dev/null", "/etc/passwd", "/dev/tty", agentTarget}, path) {
			t.Errorf("the pod saw the machine use %s", path)
		}
	}
}

// lockAndUse does on the machine what a lock or a lease of the pod's would hinder.
func lockAndUse(t *testing.T, name string) {
	t.Helper()
	file, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Errorf("the machine cannot open its file: %v", err)
		return
	}
	defer file.Close()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Errorf("the machine cannot flock %s: %v", name, err)
	}
	if strings.HasPrefix(name, "/dev/") {
		return
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, &lock); err != nil || lock.Type != unix.F_UNLCK {
		t.Errorf("the machine cannot lock %s with fcntl: %v, type %d", name, err, lock.Type)
	}
}

// TestPodSharesNoFileSystem compares the mounts of a pod with those of the machine: what is of one of
// the machine's file systems is of the pod's own directory.
func TestPodSharesNoFileSystem(t *testing.T) {
	needContainers(t)
	if os.Geteuid() != 0 {
		t.Skip("a server that is not root cannot make device nodes: they are shared")
	}
	f := start(t, Config{Dir: t.TempDir()})
	defer f.removeAll()
	spec := hostSpec("mounts")
	spec.Template.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	pod := f.create(spec)
	machine := map[[2]int]bool{}
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		machine[[2]int{m.Major, m.Minor}] = true
	}
	for _, m := range f.mountsOf(pod) {
		if machine[[2]int{m.Major, m.Minor}] && !strings.Contains(m.Root, string(pod.UID)) {
			t.Errorf("%s in the pod is %s of the machine's file system %s (%s)", m.Mountpoint, m.Root, m.Source, m.FSType)
		}
	}
}

func (f *fixture) mountsOf(pod podruntime.Pod) []*mountinfo.Info {
	f.t.Helper()
	table, err := os.Open(fmt.Sprintf("/proc/%d/mountinfo", processOf(f.t, f, pod).PID))
	if err != nil {
		f.t.Fatal(err)
	}
	defer table.Close()
	mounts, err := mountinfo.GetMountsFromReader(table, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return mounts
}

// TestMountsOfTheMachineAreShown mounts something below a directory that the image "host" shows.
func TestMountsOfTheMachineAreShown(t *testing.T) {
	needContainers(t)
	const inside = "ARL_TEST_MOUNT"
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	if os.Getenv(inside) == "" {
		// Mounts in a namespace of its own, so that the machine keeps its.
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		child := exec.Command("unshare", "-m", "--propagation", "private", exe, "-test.run=^TestMountsOfTheMachineAreShown$", "-test.v")
		child.Env = append(os.Environ(), inside+"=1")
		if out, err := child.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	for _, dir := range []string{"/opt", "/usr/src"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{"/opt/open": 0o755, "/opt/closed": 0o700} {
		if err := os.Mkdir(name, mode); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", name, "tmpfs", 0, "mode=0755"); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod("/opt", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"/opt", "/usr/src", "/opt/open"} {
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte(dir+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f := start(t, Config{Dir: t.TempDir()})
	defer f.removeAll()
	pod := f.create(hostSpec("mounts"))
	if out, code := f.run(pod, "cat /opt/file /usr/src/file /opt/open/file"); code != 0 || out != "/opt\n/usr/src\n/opt/open\n" {
		t.Errorf("exit code %d, output %q", code, out)
	}
	if out, _ := f.run(pod, "touch /opt/open/new /usr/src/new"); !strings.Contains(out, "Read-only file system") {
		t.Errorf("output %q", out)
	}
}
