package process

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// killPatience is how long the kernel gets to end what was killed. Only a
	// process stuck in the kernel, as on a dead network file system, takes longer.
	killPatience = 5 * time.Second
	// Waits between two looks at what is left of a family: the first, the
	// longest after a KILL, and the longest during a grace, which may be an hour.
	firstLook = time.Millisecond
	killLook  = 20 * time.Millisecond
	graceLook = 100 * time.Millisecond
)

// family returns the live processes that belong to p, itself included.
func (p *Process) family() ([]entry, error) {
	table, err := readTable()
	if err != nil {
		return nil, err
	}
	// The lock is taken after the table was read: whatever in the table was
	// started here has been registered by then.
	others, alone := p.supervisor.others(p)
	var members []entry
	for _, child := range table[os.Getpid()] {
		if others[child.pid] {
			continue
		}
		if child.pid == p.pid || child.group == p.pid || alone || bytes.Equal(markOf(child.pid), p.mark) {
			members = append(members, child)
		}
	}
	return withDescendants(table, members), nil
}

// withDescendants adds all descendants of the processes.
func withDescendants(table map[int][]entry, processes []entry) []entry {
	for i := 0; i < len(processes); i++ {
		processes = append(processes, table[processes[i].pid]...)
	}
	return processes
}

// others returns the tracked processes besides p, and whether p was alone from
// its start on, so that all that is there must be of its family.
func (s *Supervisor) others(p *Process) (pids map[int]bool, alone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pids = make(map[int]bool, len(s.tracked))
	for pid, each := range s.tracked {
		if each != p {
			pids[pid] = true
		}
	}
	return pids, p.first && p.number == s.starts
}

// signal sends sig to the whole family and returns how many there were.
func (p *Process) signal(sig syscall.Signal) int {
	members, err := p.family()
	if err != nil {
		// No /proc: the group is all that can be found.
		if unix.Kill(-p.pid, sig) != nil {
			return 0
		}
		return 1
	}
	group := false
	for _, member := range members {
		if member.group == p.pid {
			group = true
			continue
		}
		signalEntry(member, sig)
	}
	if group {
		// In one go, so that none can fork itself away meanwhile.
		_ = unix.Kill(-p.pid, sig)
	}
	return len(members)
}

// signalEntry signals a process unless its ID has passed to another one.
func signalEntry(target entry, sig syscall.Signal) {
	fd, err := unix.PidfdOpen(target.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	if err == nil {
		defer unix.Close(fd)
	}
	if now, ok := readEntry(target.pid); !ok || now.start != target.start {
		return
	}
	if err == nil {
		err = unix.PidfdSendSignal(fd, sig, nil, 0)
	}
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		// An old kernel, or a filter that does not know these calls.
		_ = unix.Kill(target.pid, sig)
	}
}

// Stop ends the process and its family: TERM first, KILL after grace; KILL at
// once if grace is 0. It returns when they are gone, or, if the kernel does not let go
// of one, a few seconds after it was killed.
func (p *Process) Stop(grace time.Duration) {
	if grace > 0 {
		if p.signal(unix.SIGTERM) > 0 {
			// A process that is stopped cannot handle the TERM.
			p.signal(unix.SIGCONT)
		}
		if p.gone(grace) {
			return
		}
	}
	deadline := time.Now().Add(killPatience)
	look := firstLook
	for {
		// Again and again: a fork may have been under way.
		if left := p.signal(unix.SIGKILL); left == 0 && p.ended() {
			return
		}
		if time.Now().After(deadline) {
			p.supervisor.logger.Error("A process could not be killed", "pid", p.pid, "id", p.id)
			return
		}
		p.pause(look)
		look = min(2*look, killLook)
	}
}

// gone waits for the whole family to be gone, at most for the given time.
func (p *Process) gone(patience time.Duration) bool {
	deadline := time.Now().Add(patience)
	look := firstLook
	for {
		if p.ended() {
			left, err := p.family()
			if err != nil {
				return unix.Kill(-p.pid, 0) != nil
			}
			if len(left) == 0 {
				return true
			}
		}
		remaining := time.Until(deadline)
		if remaining <= 0 {
			return false
		}
		p.pause(min(look, remaining))
		look = min(2*look, graceLook)
	}
}

// pause waits for the time given or, if the process has not ended, for its end.
func (p *Process) pause(wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	if p.ended() {
		<-timer.C
		return
	}
	select {
	case <-p.done:
	case <-timer.C:
	}
}
