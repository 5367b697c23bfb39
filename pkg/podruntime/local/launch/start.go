package launch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Names by which InitProcess knows what this binary was executed again for.
const (
	launcherName = "arl-pod-launcher"
	probeName    = "arl-overlay-probe"
)

// selfExe is this binary, even after the file it came from was replaced.
const selfExe = "/proc/self/exe"

// maxStderrBytes bounds what of a launcher's complaints goes into an error.
const maxStderrBytes = 2048

// killGrace is how long a launcher that was killed may hold its pipes open.
const killGrace = time.Second

// Means are what Start works with. The caller keeps and closes the files.
type Means struct {
	// Program is the path of a binary whose main calls InitProcess, of the same
	// source as this one; empty means this one. A container costs two executions
	// of it, so a small one starts containers faster.
	Program string
	// Listener is the socket that the command finds at ListenFD.
	Listener *os.File
}

// Start starts a container and returns its first process, which runs on
// whatever becomes of the caller. If it fails or ctx ends, something of the
// container may be left: Spec.StatePath names its process if one was begun.
func Start(ctx context.Context, spec Spec, means Means) (Process, error) {
	request, err := json.Marshal(spec)
	if err != nil {
		return Process{}, fmt.Errorf("encoding the launcher's request: %w", err)
	}
	// The parent death signal is bound to the thread that forks, not to the
	// process, so this goroutine keeps its thread until the launcher has ended.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	program := means.Program
	if program == "" {
		program = selfExe
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Args = []string{launcherName}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.Stdin = bytes.NewReader(request)
	var stdout bytes.Buffer
	stderr := &tail{limit: maxStderrBytes}
	cmd.Stdout, cmd.Stderr = &stdout, stderr
	cmd.WaitDelay = killGrace
	cmd.ExtraFiles = []*os.File{means.Listener}
	cmd.SysProcAttr = ownNamespaces(spec.Rootless)
	runErr := cmd.Run()
	if ctx.Err() != nil {
		return Process{}, fmt.Errorf("launching: %w", context.Cause(ctx))
	}
	var out outcome
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil {
		return Process{}, fmt.Errorf("launcher gave no answer: %w%s", errors.Join(runErr, err), stderr.suffix())
	}
	if out.Error != "" {
		return Process{}, errors.New(out.Error + stderr.suffix())
	}
	return out.Process, nil
}

// ownNamespaces gives a process a mount namespace, and what it needs to mount in it.
func ownNamespaces(rootless bool) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL, Setsid: true}
	if rootless {
		// One user is all that the kernel lets an ordinary user map by itself.
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	return attr
}

// tail keeps the end of what is written to it.
type tail struct {
	limit int
	data  []byte
}

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if over := len(t.data) - t.limit; over > 0 {
		t.data = t.data[over:]
	}
	return len(p), nil
}

func (t *tail) suffix() string {
	text := strings.TrimSpace(string(t.data))
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}
