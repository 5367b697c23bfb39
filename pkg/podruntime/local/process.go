package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"arl.io/arl/pkg/podruntime/local/launch"
)

// errGone: the process has ended.
var errGone = errors.New("the container's process is gone")

// process is the first process of a container, held by a descriptor, so that
// another process of the same number is never taken for it.
type process struct {
	fd *os.File
}

// openProcess returns errGone if the process has ended.
func openProcess(which launch.Process) (*process, error) {
	if which.PID <= 1 {
		return nil, fmt.Errorf("%w: its number was %d", errGone, which.PID)
	}
	// Without blocking, the descriptor is watched by Go's poller, not by a thread.
	fd, err := unix.PidfdOpen(which.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, errGone
	}
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	p := &process{fd: os.NewFile(uintptr(fd), "pidfd")}
	// The descriptor was opened before this look, so it is this process's.
	if now, err := launch.Identify(which.PID); err != nil || now != which {
		return nil, errors.Join(errGone, p.close())
	}
	return p, nil
}

func (p *process) close() error { return p.fd.Close() }

// wait returns nil when the process has ended, or ctx's error.
func (p *process) wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = p.fd.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := p.await(ctx); err != nil {
		return err
	}
	// A container's process is the child of the machine's first process; where
	// that is the server itself, it is for us to bury it.
	_ = unix.Waitid(unix.P_PIDFD, int(p.fd.Fd()), nil, unix.WEXITED|unix.WNOHANG, nil)
	return nil
}

func (p *process) await(ctx context.Context) error {
	conn, err := p.fd.SyscallConn()
	if err != nil {
		return fmt.Errorf("waiting for the container's process: %w", err)
	}
	for {
		var pollErr error
		err := conn.Read(func(fd uintptr) (done bool) {
			done, pollErr = ended(fd)
			return done || pollErr != nil
		})
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, os.ErrDeadlineExceeded):
			// Left over from a wait that was given up.
			if err := p.fd.SetReadDeadline(time.Time{}); err != nil {
				return fmt.Errorf("waiting for the container's process: %w", err)
			}
		case err != nil || pollErr != nil:
			return fmt.Errorf("waiting for the container's process: %w", errors.Join(err, pollErr))
		default:
			return nil
		}
	}
}

func ended(fd uintptr) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return n > 0, err
	}
}

// kill ends the process, and with it, as the first of its process namespace,
// all others of the container.
func (p *process) kill() error {
	err := unix.PidfdSendSignal(int(p.fd.Fd()), unix.SIGKILL, nil, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return os.NewSyscallError("pidfd_send_signal", err)
	}
	return nil
}
