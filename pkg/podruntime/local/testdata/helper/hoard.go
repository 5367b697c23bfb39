package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// takers take one unit of a resource each time, and keep it as long as this process lives.
var takers = map[string]func() error{
	"inotify-instances": func() error { return fd(unix.InotifyInit1(0)) },
	"inotify-watches":   takeWatch,
	"epoll-watches":     takeEpollWatch,
	"pipe-pages":        func() error { return takePipe(1 << 20) },
	"pipes":             func() error { return takePipe(0) },
	"terminals":         func() error { return fd(unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY, 0)) },
	"message-queues":    takeQueue,
	"aio":               takeAIO,
	"timers":            takeTimer,
	"locked-memory":     takeLockedMemory,
	"files-in-flight":   takeFileInFlight,
	"files":             func() error { return fd(unix.Open("/dev/null", unix.O_RDONLY, 0)) },
	"processes":         func() error { return exec.Command("/proc/self/exe", "wait").Start() },
	"keys": func() error {
		return fd(unix.AddKey("user", "key-"+unique(), []byte("payload"), unix.KEY_SPEC_PROCESS_KEYRING))
	},
	"user-namespaces": func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
}

var count int

func unique() string {
	count++
	return strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(count)
}

func fd(_ int, err error) error { return err }

// take takes up to limit units, prints how many it has got and what the next was refused with, and
// keeps them for as long as it is let.
func take(resource string, limit int, hold bool) error {
	taker, ok := takers[resource]
	if !ok {
		return fmt.Errorf("helper does not know the resource %q", resource)
	}
	got := 0
	var err error
	for ; got < limit && err == nil; got++ {
		err = taker()
	}
	if err != nil {
		got--
	}
	// The runtime needs descriptors for what package os does, and may not get one any more.
	_, err = unix.Write(1, fmt.Appendf(nil, "%d %v\n", got, err))
	for hold {
		_ = unix.Pause()
	}
	return err
}

var watcher = -1

// takeWatch watches a new file in memory.
func takeWatch() error {
	if watcher < 0 {
		var err error
		if watcher, err = unix.InotifyInit1(0); err != nil {
			return err
		}
	}
	name := "/dev/shm/" + unique()
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		return err
	}
	return fd(unix.InotifyAddWatch(watcher, name, unix.IN_MODIFY))
}

var poller, polled = -1, -1

// takeEpollWatch watches the same pipe under a new descriptor.
func takeEpollWatch() error {
	if poller < 0 {
		var err error
		if poller, err = unix.EpollCreate1(0); err != nil {
			return err
		}
		var ends [2]int
		if err := unix.Pipe(ends[:]); err != nil {
			return err
		}
		polled = ends[0]
	}
	next, err := unix.Dup(polled)
	if err != nil {
		return err
	}
	return unix.EpollCtl(poller, unix.EPOLL_CTL_ADD, next, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(next)})
}

// takePipe makes a pipe with a buffer of size bytes; 0 takes the usual size, and fails if that is not
// what the kernel gives.
func takePipe(size int) error {
	const usual = 64 << 10
	var ends [2]int
	if err := unix.Pipe(ends[:]); err != nil {
		return err
	}
	if size > 0 {
		return fd(unix.FcntlInt(uintptr(ends[0]), unix.F_SETPIPE_SZ, size))
	}
	got, err := unix.FcntlInt(uintptr(ends[0]), unix.F_GETPIPE_SZ, 0)
	if err == nil && got < usual {
		err = fmt.Errorf("the buffer of a pipe has %d bytes", got)
	}
	return err
}

// takeQueue makes a message queue of the largest size.
func takeQueue() error {
	name, err := unix.BytePtrFromString("queue-" + unique())
	if err != nil {
		return err
	}
	attr := struct {
		flags, messages, size, current int64
		_                              [4]int64
	}{messages: 10, size: 8192}
	_, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(name)), unix.O_CREAT|unix.O_RDWR, 0o600,
		uintptr(unsafe.Pointer(&attr)), 0, 0)
	return failed(errno)
}

// takeAIO makes a context for a thousand asynchronous requests.
func takeAIO() error {
	var context uintptr
	_, _, errno := unix.Syscall(unix.SYS_IO_SETUP, 1000, uintptr(unsafe.Pointer(&context)), 0)
	return failed(errno)
}

// takeTimer makes a timer, which has the signal that it is to send in hand from then on.
func takeTimer() error {
	var id int32
	_, _, errno := unix.Syscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, 0, uintptr(unsafe.Pointer(&id)))
	return failed(errno)
}

// takeLockedMemory locks a segment of shared memory, which is charged to its user.
func takeLockedMemory() error {
	const shmLock = 11
	id, err := unix.SysvShmGet(unix.IPC_PRIVATE, 1<<20, unix.IPC_CREAT|0o600)
	if err != nil {
		return err
	}
	return fd(unix.SysvShmCtl(id, shmLock, nil))
}

var mailbox = -1

// takeFileInFlight sends descriptors that nobody receives.
func takeFileInFlight() error {
	const most = 250
	var err error
	for range 2 {
		if mailbox < 0 {
			ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				return err
			}
			mailbox = ends[0]
		}
		fds := make([]int, most)
		if err = unix.Sendmsg(mailbox, []byte("x"), unix.UnixRights(fds...), nil, 0); !errors.Is(err, unix.EAGAIN) {
			return err
		}
		mailbox = -1 // It is full.
	}
	return err
}

func failed(errno unix.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}
