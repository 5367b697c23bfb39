package step

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const megabyte = 1 << 20

// zeros are never written to.
var zeros = make([]byte, megabyte)

func takePipe(int) error {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	// Beyond its share, a user's pipes stay as small as they are.
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, megabyte)
	return nil
}

// takeTimer makes a timer, which takes one of the signals that a user's processes may have pending.
func takeTimer(int) error {
	var id int32
	if _, _, errno := unix.Syscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, 0, uintptr(unsafe.Pointer(&id))); errno != 0 {
		return errno
	}
	return nil
}

func takeLocked(int) error {
	memory, err := unix.Mmap(-1, 0, 64<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	return unix.Mlock(memory)
}

// takeInFlight sends a descriptor that nobody receives.
func takeInFlight(i int) error {
	const perSocket = 200
	if i%perSocket == 0 {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		inFlight = pair[0]
	}
	err := unix.Sendmsg(inFlight, zeros[:1], unix.UnixRights(0), nil, 0)
	if err == unix.EAGAIN {
		return nil // the queue of this socket is full
	}
	return err
}

// inFlight is the socket into which takeInFlight sends.
var inFlight int

func takeMemory(int) error {
	memory, err := unix.Mmap(-1, 0, megabyte, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	for i := 0; i < len(memory); i += 4096 {
		memory[i] = 1
	}
	return nil
}

func appendMegabyte(name string) error {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.Write(zeros)
	return err
}

func writeEmpty(name string) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	return file.Close()
}

// takeDepth goes one directory deeper.
func takeDepth(int) error {
	if err := os.Mkdir("d", 0o700); err != nil {
		return err
	}
	return unix.Chdir("d")
}
