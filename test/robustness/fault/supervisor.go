//go:build linux

package fault

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Kind is what a call does.
type Kind string

// The kinds of calls that are caught.
const (
	Write    Kind = "write"
	Sync     Kind = "sync"
	Truncate Kind = "truncate"
	Allocate Kind = "allocate"
	Map      Kind = "map"
	Rename   Kind = "rename"
	Create   Kind = "create"
)

var kinds = map[uint32]Kind{
	unix.SYS_PWRITE64:  Write,
	unix.SYS_FSYNC:     Sync,
	unix.SYS_FDATASYNC: Sync,
	unix.SYS_FTRUNCATE: Truncate,
	unix.SYS_FALLOCATE: Allocate,
	unix.SYS_MMAP:      Map,
	unix.SYS_RENAMEAT:  Rename,
	unix.SYS_OPENAT:    Create,
}

// Call is a call that the process is about to make.
type Call struct {
	// N counts the calls from 1.
	N    int
	Kind Kind
	// Path is the file; To what it is renamed to.
	Path, To string
	// Off and Len are what Write writes; Off is the new size for Truncate and Allocate.
	Off, Len int64

	pid  int
	addr uint64
}

// String names the call for messages.
func (c Call) String() string {
	return fmt.Sprintf("call %d, %s of %s", c.N, c.Kind, filepath.Base(c.Path))
}

// Verdict is what becomes of a call. The zero Verdict lets it pass.
type Verdict struct {
	// Errno fails it.
	Errno syscall.Errno
	// Kill kills the process before it.
	Kill bool
	// Tear has the first so many bytes of a write done before the kill.
	Tear int64
}

// Supervisor decides about the calls of one process.
type Supervisor struct {
	listener int
	decide   func(Call) Verdict
	disk     *Disk
	calls    int
	done     chan struct{}
	err      error
}

// Supervise receives the listener of the process at the other end of the
// socket. decide is called for one call at a time. With a disk, syncs are left to it.
func Supervise(socket int, disk *Disk, decide func(Call) Verdict) (*Supervisor, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, make([]byte, 1), oob, 0)
	if err != nil {
		return nil, fmt.Errorf("receive the listener: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("receive the listener: the process sent none: %w", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, fmt.Errorf("receive the listener: %w", err)
	}
	s := &Supervisor{listener: fds[0], decide: decide, disk: disk, done: make(chan struct{})}
	go s.run()
	return s, nil
}

// Wait waits until the process has ended, and returns how many calls there
// were and what went wrong in supervising them.
func (s *Supervisor) Wait() (calls int, err error) {
	<-s.done
	return s.calls, s.err
}

// notification and response are the kernel's seccomp_notif and seccomp_notif_resp.
type notification struct {
	id         uint64
	pid, flags uint32
	number     int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type response struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

func (s *Supervisor) ioctl(request uint, arg unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s.listener), uintptr(request), uintptr(arg))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

func (s *Supervisor) run() {
	defer close(s.done)
	defer unix.Close(s.listener)
	for {
		poll := []unix.PollFd{{Fd: int32(s.listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); errors.Is(err, unix.EINTR) {
			continue
		}
		if poll[0].Revents&unix.POLLIN == 0 {
			return // the last thread of the process has ended
		}
		if err := s.serve(); err != nil {
			s.err = errors.Join(s.err, err)
			return
		}
	}
}

// serve decides about one call, unless its thread is killed meanwhile: the
// other threads of a process that is being killed still have calls to decide about.
func (s *Supervisor) serve() error {
	var n notification
	if err := s.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)); err != nil {
		return unlessGone(err)
	}
	err := s.answer(n)
	if err != nil && s.ioctl(unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&n.id)) != nil {
		return nil // nobody waits for the answer, nor has a memory that could be read
	}
	return unlessGone(err)
}

// unlessGone forgives what the kernel says if the thread is not there any more.
func unlessGone(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func (s *Supervisor) answer(n notification) error {
	c, err := newCall(n)
	if err != nil {
		return err
	}
	s.calls++
	c.N = s.calls
	v := s.decide(c)
	if v.Kill {
		return s.kill(c, v.Tear)
	}
	r := response{id: n.id}
	switch {
	case v.Errno != 0:
		r.errno = -int32(v.Errno)
	case s.disk != nil:
		passed, err := s.disk.apply(c)
		if err != nil {
			return err
		}
		if passed {
			r.flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
		}
	default:
		r.flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
	}
	return s.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
}

// kill kills the process before a call, of which tear bytes are done.
func (s *Supervisor) kill(c Call, tear int64) error {
	var err error
	if c.Kind == Write && tear > 0 {
		err = s.tear(c, min(tear, c.Len))
	}
	return errors.Join(err, unix.Kill(c.pid, unix.SIGKILL))
}

func (s *Supervisor) tear(c Call, n int64) error {
	b, err := c.data()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(c.Path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b[:n], c.Off)
	return errors.Join(err, f.Close())
}

// newCall makes out what a notification is about.
func newCall(n notification) (c Call, err error) {
	c = Call{Kind: kinds[uint32(n.number)], pid: int(n.pid)}
	fd := n.args[0]
	switch c.Kind {
	case Write:
		c.addr, c.Len, c.Off = n.args[1], int64(n.args[2]), int64(n.args[3])
	case Truncate:
		c.Off = int64(n.args[1])
	case Allocate:
		c.Off = int64(n.args[2] + n.args[3])
	case Map:
		fd = n.args[4]
	case Create:
		c.Path, err = c.text(n.args[1])
		return c, err
	case Rename:
		var errTo error
		c.Path, err = c.text(n.args[1])
		c.To, errTo = c.text(n.args[3])
		return c, errors.Join(err, errTo)
	}
	c.Path, err = os.Readlink(filepath.Join("/proc", strconv.Itoa(c.pid), "fd", strconv.Itoa(int(int32(fd)))))
	return c, err
}

// data returns what a write writes.
func (c Call) data() ([]byte, error) {
	b := make([]byte, c.Len)
	n, err := c.read(b, c.addr)
	if n < len(b) {
		return nil, fmt.Errorf("read the memory of process %d: %w", c.pid, err)
	}
	return b, nil
}

// text returns the zero-terminated string at addr.
func (c Call) text(addr uint64) (string, error) {
	b := make([]byte, unix.PathMax)
	n, err := c.read(b, addr)
	end := bytes.IndexByte(b[:n], 0)
	if end < 0 {
		return "", fmt.Errorf("read a path of process %d: %w", c.pid, err)
	}
	return string(b[:end]), nil
}

// read reads memory of the process, and maybe less than asked for: what
// follows may not be mapped.
func (c Call) read(b []byte, addr uint64) (int, error) {
	mem, err := os.Open(filepath.Join("/proc", strconv.Itoa(c.pid), "mem"))
	if err != nil {
		return 0, err
	}
	defer mem.Close()
	return mem.ReadAt(b, int64(addr))
}
