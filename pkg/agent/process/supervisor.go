// Package process starts commands, follows them to their end and leaves
// nothing of them behind. It knows nothing of tasks or of the network.
//
// The agent is the reaper of its container: as process 1, or else as a child
// subreaper, it inherits every process whose parent has died. So that it does not
// steal the exit status of a command that os/exec waits for, it looks at a dead child before
// it reaps it and leaves alone those that were started here (see reap.go).
//
// A command gets a process group of its own. What belongs to a command is its
// group, all descendants, and the processes that were left to the agent by a parent's death and carry
// the command's mark in their environment (see family.go). All of it is ended
// when the command ends or is stopped; nothing survives the step that began it.
// Without /proc only the group can be found.
//
// Goroutines: Reap is the reaper; Start makes one goroutine a process, which
// ends with the process and is joined by Stop and Settle; Run joins those
// it makes. Supervisor.mu is the only lock, and is held over fork and registration.
//
// Read supervisor.go first, then command.go.
package process

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// MarkVariable is set in the environment of every command, to the ID it was started with.
const MarkVariable = "ARL_EXECUTION_ID"

// Config makes a Supervisor.
type Config struct {
	// Logger gets what cannot be returned.
	Logger *slog.Logger
	// Exclusive says that every process beneath the agent was begun by a
	// command, so that while a single command runs, all of them are its own,
	// even one that took a session of its own and wiped its environment. Set
	// it if the agent is process 1 and runs nothing but steps. What somebody
	// starts in the container behind the agent's back, and leaves there without a parent, is
	// then ended with the next step.
	Exclusive bool
}

// Supervisor starts processes and reaps orphans. It is safe for concurrent
// use. There may be one in a program, and while it runs nothing else may wait for children.
type Supervisor struct {
	logger    *slog.Logger
	exclusive bool
	// kick makes the reaper look again.
	kick chan struct{}

	mu sync.Mutex
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
	}, nil
}

// Process is a process that was started.
type Process struct {
	supervisor *Supervisor
	id         string
	pid        int
	done       chan struct{}
	// state is set before done is closed.
	state *os.ProcessState
}

// textBusyRetries bounds the attempts to start a program that somebody seems to
// be writing. Mostly it is a child between fork and exec that still holds the
// file open, so it passes within a millisecond.
const textBusyRetries = 8

// Start starts cmd in a process group of its own. The ID says whom its orphans
// belong to; cmd.Env must carry it as MarkVariable. The caller must not call any
// method of cmd afterwards.
func (s *Supervisor) Start(cmd *exec.Cmd, id string) (*Process, error) {
	attr := syscall.SysProcAttr{}
	if cmd.SysProcAttr != nil {
		attr = *cmd.SysProcAttr
	}
	attr.Setpgid = true
	for attempt := 0; ; attempt++ {
		try := *cmd
		try.SysProcAttr = &attr
		process, err := s.start(&try, id)
		if err == nil || attempt == textBusyRetries || !isTextBusy(err) {
			return process, err
		}
		time.Sleep(time.Millisecond << attempt)
	}
}

func (s *Supervisor) start(cmd *exec.Cmd, id string) (*Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	process := &Process{supervisor: s, id: id, pid: cmd.Process.Pid, done: make(chan struct{})}
	s.tracked[process.pid] = process
	go process.wait(cmd)
	return process, nil
}

// wait collects the exit status and lets go of the process.
func (p *Process) wait(cmd *exec.Cmd) {
	// The error repeats what the state says, or says that there is no state.
	err := cmd.Wait()
	p.state = cmd.ProcessState
	s := p.supervisor
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

// ExitCode returns the exit code of a process that has ended: 128 plus the
// signal's number if a signal ended it. One whose status was lost, or that is
// still there although it was killed, counts as killed.
func (p *Process) ExitCode() int32 {
	if !p.ended() || p.state == nil {
		return 128 + int32(unix.SIGKILL)
	}
	if status, ok := p.state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int32(status.Signal())
	}
	return int32(p.state.ExitCode())
}

// Signal returns the signal that ended the process, or 0.
func (p *Process) Signal() syscall.Signal {
	if !p.ended() || p.state == nil {
		return unix.SIGKILL
	}
	if status, ok := p.state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return status.Signal()
	}
	return 0
}
