// Package process starts commands, follows them to their end, and stops them with
// all they began. It knows nothing of tasks or of the network.
//
// The agent is the reaper of its container: as process 1, or else as a child
// subreaper, it inherits every process whose parent has died. So that it does not
// steal the exit status of a command that os/exec waits for, it looks at a dead child before
// it reaps it and leaves alone those that were started here (see reap.go).
//
// A command gets a process group of its own. The family of a command is its group, all
// descendants, and the processes that were left to the agent by a parent's death and carry
// the command's mark in their environment (see family.go). When a command is stopped, its
// whole family is ended. Without /proc only the group can be found.
//
// When a command ends by itself, the rest of its family goes on until EndLeft (see left.go).
// What the rest writes to the command's output is read and discarded (see drain.go), so
// that it meets neither a full pipe nor a broken one. That costs at most two descriptors and two
// goroutines per command, for as long as a process holds its output open.
//
// Goroutines: Reap is the reaper; Start makes one per process, which ends with the process; Run
// joins those it makes, except those that discard output, which Close joins. Locks:
// Supervisor.mu is held over fork and registration; drains.mu stands alone.
//
// Read supervisor.go first, then command.go.
package process

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// ExecutionVariable is set in the environment of every command, to the ID it was started with.
	ExecutionVariable = "ARL_EXECUTION_ID"
	// markVariable is set to a mark that no other command has: its number since the start of the
	// agent, a dot, and its grace in milliseconds. Processes are recognized by it after
	// their parents have ended.
	markVariable = "ARL_MARK"
)

// Config makes a Supervisor.
type Config struct {
	// Logger gets what cannot be returned.
	Logger *slog.Logger
	// Exclusive says that every process beneath the agent was begun by a
	// command. While a command runs alone, and ran alone from its start, when nothing was left of
	// earlier ones, all processes are then its own, even one that took a session of its own and
	// wiped its environment. Set it if the agent is process 1 and runs nothing
	// but commands. A process that is started in the container by other means, and left
	// there without a parent, is then ended with a command that is stopped.
	Exclusive bool
}

// Supervisor starts processes and reaps orphans. It is safe for concurrent
// use. There may be one in a program, and while it runs nothing else may wait for children.
type Supervisor struct {
	logger    *slog.Logger
	exclusive bool
	// kick makes the reaper look again.
	kick   chan struct{}
	drains drains
	// score is the oom_score_adj of what is started here; nil leaves it alone.
	score []byte

	mu sync.Mutex
	// starts counts the processes that were started.
	starts int64
	// tracked are the processes started here that have not been waited for.
	tracked map[int]*Process
	// held says that the reaper stopped at a tracked process and wants a kick.
	held bool
}

// New returns a supervisor and makes this process the reaper of its descendants.
func New(config Config) (*Supervisor, error) {
	// Process 1 is the reaper whatever the answer.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil && os.Getpid() != 1 {
		return nil, fmt.Errorf("becoming the reaper of orphaned processes: %w", err)
	}
	return &Supervisor{
		logger:    config.Logger,
		exclusive: config.Exclusive,
		kick:      make(chan struct{}, 1),
		tracked:   map[int]*Process{},
		score:     scoreFor(),
	}, nil
}

// Process is a process that was started.
type Process struct {
	supervisor *Supervisor
	id         string
	pid        int
	// mark is the variable in the environment that identifies the family.
	mark []byte
	// number is Supervisor.starts as of the start of the process, and first says
	// that there was no other process beneath the agent then.
	number int64
	first  bool
	done   chan struct{}
	// state is set before done is closed.
	state *os.ProcessState
}

// textBusyRetries bounds the attempts to start a program that somebody seems to
// be writing. Mostly it is a child between fork and exec that still holds the
// file open, so it passes within a millisecond.
const textBusyRetries = 8

// Start starts cmd in a process group of its own, and adds the ID to its
// environment. The grace is what EndLeft gives to what the process leaves running. The caller
// must not call any method of cmd afterwards.
func (s *Supervisor) Start(cmd *exec.Cmd, id string, grace time.Duration) (*Process, error) {
	attr := syscall.SysProcAttr{}
	if cmd.SysProcAttr != nil {
		attr = *cmd.SysProcAttr
	}
	attr.Setpgid = true
	env := cmd.Env
	if env == nil {
		env = os.Environ()
	}
	env = append(env[:len(env):len(env)], ExecutionVariable+"="+id)
	for attempt := 0; ; attempt++ {
		try := *cmd
		try.SysProcAttr, try.Env = &attr, env
		process, err := s.start(&try, id, grace)
		if err == nil || attempt == textBusyRetries || !isTextBusy(err) {
			return process, err
		}
		time.Sleep(time.Millisecond << attempt)
	}
}

func (s *Supervisor) start(cmd *exec.Cmd, id string, grace time.Duration) (*Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.exclusive && s.childlessLocked()
	mark := markVariable + "=" + strconv.FormatInt(s.starts+1, 10) + "." + strconv.FormatInt(grace.Milliseconds(), 10)
	cmd.Env = append(cmd.Env[:len(cmd.Env):len(cmd.Env)], mark)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s.starts++
	process := &Process{
		supervisor: s, id: id, pid: cmd.Process.Pid, mark: []byte(mark),
		number: s.starts, first: first, done: make(chan struct{}),
	}
	s.tracked[process.pid] = process
	// As long as nobody waits for the process, its ID cannot pass to another one.
	s.preferForOOM(process.pid)
	go process.wait(cmd)
	return process, nil
}

// wait collects the exit status and lets go of the process.
func (p *Process) wait(cmd *exec.Cmd) {
	// The error repeats what the state says, or says that there is no state.
	err := cmd.Wait()
	p.state = cmd.ProcessState
	s := p.supervisor
	if status, ok := p.status(); ok && status.Stopped() {
		p.endTraced()
	}
	s.mu.Lock()
	if s.tracked[p.pid] == p {
		delete(s.tracked, p.pid)
	}
	held := s.held
	s.mu.Unlock()
	if p.state == nil {
		s.logger.Error("The exit status of a process was lost", "pid", p.pid, "err", err)
	}
	if held {
		s.wake()
	}
	close(p.done)
}

// endTraced ends a process that has asked to be traced by its parent (PTRACE_TRACEME). It stops at its
// first signal, and the kernel reports that to whoever waits for its end. The agent traces nothing.
func (p *Process) endTraced() {
	if err := unix.Kill(p.pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		p.supervisor.logger.Error("Killing a process that asked to be traced failed", "pid", p.pid, "err", err)
		return
	}
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(p.pid, &status, unix.WALL, nil)
		if err != nil && !errors.Is(err, unix.EINTR) || err == nil && !status.Stopped() {
			return
		}
	}
}

// PID returns the process ID, which is that of its group, too.
func (p *Process) PID() int { return p.pid }

// Done is closed when the process has ended and its status is known.
func (p *Process) Done() <-chan struct{} { return p.done }

// ended says whether Done is closed.
func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// status returns the status of a process that has ended, unless it was lost.
func (p *Process) status() (status syscall.WaitStatus, ok bool) {
	if p.state == nil {
		return 0, false
	}
	status, ok = p.state.Sys().(syscall.WaitStatus)
	return status, ok
}

// ExitCode returns the exit code of a process that has ended: 128 plus the
// signal's number if a signal ended it. One whose status was lost, or that is
// still there although it was killed, counts as killed.
func (p *Process) ExitCode() int32 {
	if signal := p.Signal(); signal != 0 {
		return 128 + int32(signal)
	}
	return int32(p.state.ExitCode())
}

// Signal returns the signal that ended the process, or 0. It is SIGTRAP for a process that asked to be
// traced by the agent.
func (p *Process) Signal() syscall.Signal {
	if !p.ended() || p.state == nil {
		return unix.SIGKILL
	}
	switch status, ok := p.status(); {
	case ok && status.Signaled():
		return status.Signal()
	case ok && status.Stopped():
		return unix.SIGTRAP
	}
	return 0
}
