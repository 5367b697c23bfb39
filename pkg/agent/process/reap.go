package process

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reap collects orphans until ctx ends. It is called once.
func (s *Supervisor) Reap(ctx context.Context) {
	died := make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	defer signal.Stop(died)
	for {
		s.reap()
		select {
		case <-ctx.Done():
			// Those that died last must not be left as zombies.
			s.reap()
			return
		case <-died:
		case <-s.kick:
		}
	}
}

// wake makes the reaper look again.
func (s *Supervisor) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// reap collects all dead children up to the first that somebody waits for. The
// kernel shows dead children in a fixed order, so nothing behind that one can be
// seen; whoever waits for it gives a kick when it is gone.
//
// The lock keeps a process that was just forked, and may be dead already, from
// being seen before it is registered.
func (s *Supervisor) reap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reapLocked()
}

func (s *Supervisor) reapLocked() {
	s.held = false
	for {
		pid, err := peekDead()
		if err != nil || pid == 0 {
			return
		}
		if _, ok := s.tracked[pid]; ok {
			s.held = true
			return
		}
		if _, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); err != nil && !errors.Is(err, unix.EINTR) {
			s.logger.Error("Reaping an orphan failed", "pid", pid, "err", err)
			return
		}
	}
}

// siginfoPID is where siginfo_t has si_pid: behind three integers, aligned to a pointer.
const siginfoPID = 8 + unsafe.Sizeof(uintptr(0))

// peekDead returns the process ID of a dead child without reaping it, or 0 if
// none is dead. If there are no children at all, returns ECHILD.
func peekDead() (int, error) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, err
		}
		return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), siginfoPID))), nil
	}
}

// childlessLocked says that nothing lives of what was started here.
func (s *Supervisor) childlessLocked() bool {
	if childless() {
		return true
	}
	if len(s.tracked) > 0 {
		return false
	}
	s.reapLocked()
	return childless()
}

// childless says that this process has no child, dead or alive: then nothing
// that was started here can have left anything behind.
func childless() bool {
	_, err := peekDead()
	return errors.Is(err, unix.ECHILD)
}
