package launch

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"arl.io/arl/pkg/podruntime/local/seccomp"
)

// helperArg makes the test binary the first process of a container: it runs
// what each connection to its socket asks for.
const helperArg = "launch-test-helper"

func TestMain(m *testing.M) {
	InitProcess()
	if len(os.Args) > 1 && os.Args[1] == helperArg {
		os.Exit(helperMain())
	}
	os.Exit(m.Run())
}

func helperMain() int {
	listener, err := net.FileListener(os.NewFile(ListenFD, "listener"))
	if err != nil {
		return 1
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return 1
		}
		var args []string
		if json.NewDecoder(bufio.NewReader(conn)).Decode(&args) == nil {
			out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
			if err != nil {
				out = fmt.Appendf(out, "(%v)", err)
			}
			_, _ = conn.Write(out)
		}
		conn.Close()
	}
}

// hostSpec is a container whose root is made of the machine's own directories.
func hostSpec(t *testing.T, dir string) Spec {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ids := IDRange{Base: 0x70000000, Size: 65536}
	spec := Spec{
		ID: "launch-" + filepath.Base(dir), StatePath: filepath.Join(dir, "process.json"),
		Rootfs: Rootfs{Base: filepath.Join(dir, "base")},
		Mounts: []Mount{{Source: exe, Target: "/helper", ReadOnly: true}},
		IDs:    ids, Hostname: "smoke", Args: []string{"/helper", helperArg},
		Env: []string{"PATH=/usr/bin:/bin"}, Dir: "/work",
		Filter: testFilter(t),
		Cgroup: Cgroup{Parent: "/arl-launch-test-" + filepath.Base(filepath.Dir(dir)), Pids: 100, CPUShares: 512, MemoryBytes: 256 << 20},
	}
	for _, sub := range []string{"base", "base/work"} {
		mkdirOwned(t, filepath.Join(dir, sub), ids.Base)
	}
	for _, name := range []string{"bin", "lib", "lib64", "usr", "etc"} {
		info, err := os.Lstat("/" + name)
		if err != nil {
			continue
		}
		target := filepath.Join(spec.Rootfs.Base, name)
		if info.Mode()&os.ModeSymlink != 0 {
			link, _ := os.Readlink("/" + name)
			if err := os.Symlink(link, target); err != nil {
				t.Fatal(err)
			}
			continue
		}
		mkdirOwned(t, target, 0)
		overlay := Overlay{Target: name, Lower: "/" + name,
			Upper: filepath.Join(dir, name+"-upper"), Work: filepath.Join(dir, name+"-work")}
		mkdirOwned(t, overlay.Upper, 0)
		mkdirOwned(t, overlay.Work, 0)
		spec.Rootfs.Overlays = append(spec.Rootfs.Overlays, overlay)
	}
	return spec
}

func testFilter(t testing.TB) []byte {
	t.Helper()
	filter, err := seccomp.Filter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return filter
}

func mkdirOwned(t *testing.T, dir string, owner int) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, owner, owner); err != nil {
		t.Fatal(err)
	}
}

// container is one that runs.
type container struct {
	process Process
	socket  string
}

// start starts spec and ends it with the test.
func start(t *testing.T, dir string, spec Spec) (container, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	c := container{socket: filepath.Join(dir, "s")}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: c.socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	defer listener.Close()
	file, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c.process, err = Start(ctx, spec, Means{Listener: file})
	t.Cleanup(func() {
		if c.process.PID > 0 {
			_ = unix.Kill(c.process.PID, unix.SIGKILL)
		}
		if err := RemoveCgroup(spec.Cgroup.Parent); err != nil {
			t.Error(err)
		}
	})
	return c, err
}

// run returns the output of a command in the container.
func (c container) run(t *testing.T, args ...string) string {
	t.Helper()
	conn, err := net.Dial("unix", c.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(args); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestStart(t *testing.T) {
	dir := t.TempDir()
	spec := hostSpec(t, dir)
	c, err := start(t, dir, spec)
	if err != nil {
		t.Fatal(err)
	}
	if written, err := ReadProcess(spec.StatePath); err != nil || written != c.process {
		t.Errorf("written down is %+v, %v, returned %+v", written, err, c.process)
	}
	if now, err := Identify(c.process.PID); err != nil || now != c.process {
		t.Errorf("the process is %+v, %v, returned %+v", now, err, c.process)
	}
	for _, test := range []struct{ name, script, want string }{
		{"user", "id -u; pwd", "0\n/work\n"},
		{"filter", "grep -E '^Seccomp:' /proc/self/status | tr -d '\\t '", "Seccomp:2\n"},
		// With the first version of cgroups, the agent has a file of its own cgroup, by which it learns
		// that memory ran out.
		{"no descriptor of the machine's files", "ls -l /proc/1/fd | grep -v '/memory.oom_control$' | grep -c -- '-> /[^d]'",
			"0\n(exit status 1)"},
		{"nothing of the stage", "grep -c '/mnt' /proc/self/mountinfo", "0\n(exit status 1)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if out := c.run(t, "/bin/sh", "-c", test.script); out != test.want {
				t.Errorf("output %q, want %q", out, test.want)
			}
		})
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(mounts, []byte(dir)) {
		t.Errorf("the machine's mounts name %s:\n%s", dir, mounts)
	}
}

func TestStartFails(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Spec)
		want   string
	}{
		{"no such command", func(s *Spec) { s.Args = []string{"/nothing"} }, "/nothing"},
		{"no lower directory", func(s *Spec) { s.Rootfs.Overlays[0].Lower = "/not-there" }, "/not-there"},
		{"no such volume", func(s *Spec) { s.Mounts = append(s.Mounts, Mount{Source: "/not-there", Target: "/v"}) }, "/not-there"},
		{"no filter", func(s *Spec) { s.Filter = nil }, "no filter"},
		{"no place for the process", func(s *Spec) { s.StatePath = "/not-there/process" }, "/not-there"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			spec := hostSpec(t, dir)
			test.change(&spec)
			_, err := start(t, dir, spec)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error that names %s", err, test.want)
			}
		})
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	spec := Spec{}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("no time left")
	cancel(cause)
	if _, err := Start(ctx, spec, Means{Listener: os.Stdin}); !errors.Is(err, cause) {
		t.Errorf("got %v, want %v", err, cause)
	}
}

func TestTail(t *testing.T) {
	kept := &tail{limit: 5}
	for _, text := range []string{"ab", "cdefgh", "\n"} {
		if n, err := kept.Write([]byte(text)); n != len(text) || err != nil {
			t.Errorf("Write returned %d, %v", n, err)
		}
	}
	if got, want := kept.suffix(), " (efgh)"; got != want {
		t.Errorf("suffix %q, want %q", got, want)
	}
}
