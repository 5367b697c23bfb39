package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/agent/wire"
)

// selfVariable makes the test binary stand in for arl-agent.
const selfVariable = "AGENT_TEST_SELF"

func TestMain(m *testing.M) {
	if os.Getenv(selfVariable) != "" {
		os.Unsetenv(selfVariable)
		if os.Getpid() == 1 {
			mountProc()
		}
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// self returns a command that runs this program as arl-agent.
func self(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), selfVariable+"=1")
	cmd.WaitDelay = time.Second
	return cmd
}

// serving is an agent in a process of its own.
type serving struct {
	*client.Client
	t   *testing.T
	cmd *exec.Cmd
	log *bytes.Buffer
}

// startServing starts an agent on an inherited socket, as the local runtime
// does. It is ended at the end of the test, if it has not ended by then.
func startServing(t *testing.T, attr *syscall.SysProcAttr, args ...string) *serving {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	listener.SetUnlinkOnClose(false)
	inherited, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	defer inherited.Close()
	log := &bytes.Buffer{}
	cmd := self(t, append([]string{"serve", "--listen-fd", "3", "--pod-uid", "uid"}, args...)...)
	cmd.ExtraFiles = []*os.File{inherited}
	cmd.SysProcAttr = attr
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	started := &serving{Client: client.NewUnix(socket), t: t, cmd: cmd, log: log}
	t.Cleanup(func() {
		started.Close()
		if cmd.ProcessState != nil {
			return
		}
		if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
			t.Errorf("the agent ended with %v\n%s", err, log)
		}
	})
	return started
}

// run runs a shell script as one step.
func (s *serving) run(script string) wire.ExecutionResult {
	s.t.Helper()
	result, err := s.Run(s.t.Context(), scriptOf(script), nil)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, s.log)
	}
	return result
}

// scriptOf returns an execution of a shell script.
func scriptOf(script string) wire.Execution {
	step := wire.Step{Name: "a", Type: wire.StepCommand, Command: []string{"sh", "-c", script}}
	return wire.Execution{ID: rand.Text(), Steps: []wire.Step{step}}
}

func TestServeOnAnInheritedSocket(t *testing.T) {
	workDir := filepath.Join(t.TempDir(), "a/b")
	s := startServing(t, nil, "--work-dir", workDir, "--", "sh", "-c", "sleep 300")
	health, err := s.Health(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if health.PodUID != "uid" || health.Version != "dev" || health.Main == nil || !health.Main.Running {
		t.Errorf("health: %+v", health)
	}
	if info, err := os.Stat(workDir); err != nil || !info.IsDir() {
		t.Errorf("the work directory was not made: %v", err)
	}
	// Of what the agent holds open, a step gets nothing but its own three.
	if got := string(s.run("exec ls /proc/self/fd").Stdout); got != "0\n1\n2\n3\n" {
		t.Errorf("descriptors: %q", got)
	}
}

// SIGTERM ends what runs, tells so, and ends the agent with success.
func TestTermination(t *testing.T) {
	s := startServing(t, nil, "--stop-grace", "100ms", "--", "sh", "-c", "trap '' TERM; sleep 300 & wait; wait")
	saves := scriptOf("trap 'sleep 1; echo saved; exit 3' TERM; echo ready; while :; do sleep 0.01; done")
	grace := int64(60_000)
	saves.GraceMillis = &grace
	first := true
	result, err := s.Run(t.Context(), saves, func(event wire.Event) {
		if event.Output != nil && first {
			first = false
			if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil || result.Reason != wire.ReasonCancelled || result.Message != "the agent is shutting down" {
		t.Errorf("got %+v, %v", result, err)
	}
	if got := string(result.Stdout); got != "ready\nsaved\n" {
		t.Errorf("the step was not given its grace: %q", got)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("exit: %v\n%s", err, s.log)
	}
}

func TestCopy(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "old"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	want, err := os.Stat("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for dest, file := range map[string]string{"new": "new", "old": "old", ".": "arl-agent"} {
		if out, err := self(t, "copy", filepath.Join(dir, dest)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		info, err := os.Stat(filepath.Join(dir, file))
		if err != nil || info.Size() != want.Size() || info.Mode() != 0o755 {
			t.Errorf("%s: %v, %v", dest, info, err)
		}
	}
	out, err := self(t, "copy", filepath.Join(dir, "no/such/directory")).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no such file or directory") {
		t.Errorf("got %v: %s", err, out)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 3 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestCommandLine(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want string
		err  error
	}{
		{"version", []string{"--version"}, "dev\n", nil},
		{"help", []string{"--help"}, "Usage:", nil},
		{"help of serve", []string{"serve", "--help"}, "-listen-fd number", flag.ErrHelp},
		{"nothing", nil, "Usage:", errUsage},
		{"unknown", []string{"walk"}, "no such subcommand: walk", errUsage},
		{"unknown flag", []string{"serve", "--walk"}, "-walk", errUsage},
		{"copy to nowhere", []string{"copy"}, "Usage:", errUsage},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := run(test.args, &out, &out); !errors.Is(err, test.err) {
				t.Errorf("error %v, want %v", err, test.err)
			}
			if !strings.Contains(out.String(), test.want) {
				t.Errorf("got %q, want %q", out.String(), test.want)
			}
		})
	}
}

func TestServeOptions(t *testing.T) {
	for name, args := range map[string][]string{
		"nowhere to listen":       {},
		"must be absolute":        {"--listen-unix", "s", "--work-dir", "a"},
		"--listen-tls needs":      {"--listen-tls", ":0", "--tls-cert", "c"},
		"for --listen-tls, which": {"--listen-unix", "s", "--client-ca", "c"},
		"wrong usage":             {"--listen-unix", "s", "--probes", `{"readiness": {"unknown": 1}}`},
	} {
		if _, err := parseServe(args, io.Discard); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v: got %v, want %q", args, err, name)
		}
	}
	options, err := parseServe([]string{"--listen-unix", "s", "--probes", `{"startup":{"tcpSocket":{"port":80}}}`, "--", "sleep", "-x"}, io.Discard)
	if err != nil || strings.Join(options.main, " ") != "sleep -x" || options.root != "/" ||
		options.probes.Startup.TCPSocket.Port != 80 {
		t.Errorf("got %+v, %v", options, err)
	}
}
