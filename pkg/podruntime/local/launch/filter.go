package launch

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// filterFD is where a container's init finds its end of the socket on which the launcher sends the
// seccomp filter. It comes right after ListenFD.
const filterFD = ListenFD + 1

// filterDone is the init's answer when the filter is installed.
const filterDone = "d"

// Sizes of a filter: of one instruction, and of the longest filter that the kernel takes.
const (
	instructionBytes = int(unsafe.Sizeof(unix.SockFilter{}))
	maxInstructions  = 4096
)

// installFilter waits in a container's init until the launcher sends the filter, when all that needs
// privileges is done, and puts it on all threads. Meanwhile the init itself waits to become the agent.
//
// Libcontainer would do this with libseccomp, which a machine that builds this may not have.
func installFilter() {
	socket := os.NewFile(filterFD, "filter")
	defer socket.Close()
	filter, err := readFilter(socket)
	if err != nil {
		// The launcher is gone or gave up. Perhaps nothing else knows of this process, so it must not
		// wait for an order that never comes.
		end(1)
	}
	answer := filterDone
	if err := install(filter); err != nil {
		answer = err.Error()
	}
	_, _ = io.WriteString(socket, answer)
}

// applyFilter is the launcher's side of installFilter.
func applyFilter(socket *os.File, filter []byte) error {
	if n := len(filter) / instructionBytes; n == 0 || n > maxInstructions || len(filter)%instructionBytes != 0 {
		return fmt.Errorf("seccomp filter: %d bytes are no filter", len(filter))
	}
	// The length comes first, so that no part of a filter is taken for the whole.
	message := binary.NativeEndian.AppendUint32(nil, uint32(len(filter)))
	if _, err := socket.Write(append(message, filter...)); err != nil {
		return fmt.Errorf("sending the seccomp filter: %w", err)
	}
	answer, err := io.ReadAll(io.LimitReader(socket, maxStderrBytes))
	if err != nil {
		return fmt.Errorf("waiting for the seccomp filter: %w", err)
	}
	if string(answer) != filterDone {
		return fmt.Errorf("seccomp filter: %q", answer)
	}
	return nil
}

// readFilter returns what applyFilter sent.
func readFilter(socket io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(socket, size[:]); err != nil {
		return nil, err
	}
	n := binary.NativeEndian.Uint32(size[:])
	if n == 0 || n > uint32(maxInstructions*instructionBytes) {
		return nil, fmt.Errorf("%d bytes are no filter", n)
	}
	filter := make([]byte, n)
	_, err := io.ReadFull(socket, filter)
	return filter, err
}

// install puts the filter on every thread of this process, for its life and that of all processes it
// starts. None of them can gain privileges by exec afterwards.
func install(filter []byte) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("setting no_new_privs: %w", err)
	}
	code := make([]unix.SockFilter, len(filter)/instructionBytes)
	if _, err := binary.Decode(filter, binary.NativeEndian, code); err != nil {
		return fmt.Errorf("decoding the filter: %w", err)
	}
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(code)
	if errno != 0 {
		return fmt.Errorf("installing the filter: %w", errno)
	}
	if thread != 0 {
		return fmt.Errorf("installing the filter: thread %d cannot take it", thread)
	}
	return nil
}

// filterSocket returns the two ends of the socket for the filter.
func filterSocket() (launcher, init *os.File, err error) {
	return socketPair("filter")
}

// socketPair returns the two ends of a connection.
func socketPair(name string) (one, other *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name), nil
}
