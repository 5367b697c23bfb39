package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"arl.io/arl/pkg/agent/wire"
)

// asInit starts the agent as process 1 of a pid namespace with a /proc of its own.
func asInit(t *testing.T, args ...string) *serving {
	t.Helper()
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	probe := self(t, "--version")
	probe.SysProcAttr = attr
	if out, err := probe.CombinedOutput(); errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		t.Skipf("this machine gives no pid namespace: %v", err)
	} else if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return startServing(t, attr, args...)
}

// mountProc gives process 1 the /proc of its namespace. Nobody outside sees it.
func mountProc() {
	err := errors.Join(
		syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""),
		syscall.Mount("proc", "/proc", "proc", 0, ""),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mounting /proc:", err)
		os.Exit(1)
	}
}

// settled waits until a step finds no process, dead or alive, but process 1 and itself.
func (s *serving) settled() {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		result := s.run("echo /proc/[0-9]*; cat /proc/[0-9]*/stat")
		found, _, _ := strings.Cut(string(result.Stdout), "\n")
		if strings.Count(found, "/proc/") == 2 {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("there are others: %s", result.Stdout)
		}
	}
}

func TestProcessOneReaps(t *testing.T) {
	s := asInit(t)
	for i := range 20 {
		want := int32(i + 1)
		result := s.run(fmt.Sprintf("for i in 1 2 3 4 5; do (sh -c 'true & true' &); done; exit %d", want))
		if result.ExitCode == nil || *result.ExitCode != want {
			t.Errorf("exit code %v, want %d: %s", result.ExitCode, want, result.Message)
		}
	}
	s.settled()
}

// traceless leaves a process in a session of its own, without its mark,
// deaf to TERM, and without its parent.
const traceless = `(env -i setsid sh -c 'trap "" TERM; touch ready; exec sleep 300' &)
	until [ -e ready ]; do sleep 0.01; done; rm ready; `

func TestProcessOneLeavesNothingOfAStoppedStepBehind(t *testing.T) {
	s := asInit(t)
	stopped := scriptOf("cd " + t.TempDir() + "; " + traceless + "echo ready; sleep 300")
	grace := int64(100)
	stopped.GraceMillis = &grace
	result, err := s.Run(t.Context(), stopped, func(event wire.Event) {
		if event.Output != nil {
			if err := s.Cancel(t.Context(), stopped.ID, wire.CancelRequest{}); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil || result.Reason != wire.ReasonCancelled {
		t.Fatalf("%+v, %v", result, err)
	}
	s.settled()
}

// What a step leaves running goes on when a later step is stopped, however well
// it hides where it came from, and ends with the agent.
func TestProcessOneKeepsWhatAStepLeavesRunning(t *testing.T) {
	s := asInit(t)
	dir := t.TempDir()
	count := func() string {
		return strings.TrimSpace(string(s.run("grep -l -a '^sleep' /proc/[0-9]*/cmdline | wc -l").Stdout))
	}
	if result := s.run("cd " + dir + "; " + traceless + "sleep 300 & setsid sleep 300 &"); result.State != wire.Succeeded {
		t.Fatal(result.Message)
	}
	stopped := scriptOf("sleep 300 & (setsid sleep 300 &); sleep 300")
	stopped.TimeoutMillis = 200
	if result, err := s.Run(t.Context(), stopped, nil); err != nil || result.Reason != wire.ReasonTimeout {
		t.Fatalf("%+v, %v", result, err)
	}
	if got := count(); got != "3" {
		t.Errorf("%s processes are left running, want 3", got)
	}
}

// The end of process 1 is the end of all.
func TestProcessOneEndsOnTERM(t *testing.T) {
	s := asInit(t, "--", "sleep", "300")
	s.run("true")
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("exit: %v\n%s", err, s.log)
	}
}
