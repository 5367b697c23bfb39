package seccomp

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offsets into the kernel's struct seccomp_data. Arguments are 64 bits wide;
// the offset of their low half depends on the byte order, which is little
// endian on every architecture of arch_*.go.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArg0   = 16
	offsetArg1   = 24
)

// cloneNamespaces are the flags of clone that make namespaces. CLONE_NEWTIME
// is not among them: clone takes that bit for a part of the exit signal.
const cloneNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
	unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP

// Ioctls that put characters into a terminal's input as if they were typed.
var deniedIoctls = []uint32{unix.TIOCSTI, unix.TIOCLINUX}

// Address families whose sockets reach past the container's network namespace
// or into rarely used kernel code.
var deniedFamilies = []uint32{unix.AF_VSOCK, unix.AF_ALG}

// Program returns the filter for this machine's architecture.
func Program() []unix.SockFilter {
	p := program{}
	p.load(offsetArch)
	p.unless(unix.BPF_JEQ, auditArch, errno(unix.ENOSYS))
	p.load(offsetNumber)
	if foreignABIBit != 0 {
		p.when(unix.BPF_JGE, foreignABIBit, errno(unix.ENOSYS))
	}
	p.when(unix.BPF_JGT, lastKnown, errno(unix.ENOSYS))
	// A C library that is told that clone3 does not exist falls back to clone,
	// whose flags a filter can read.
	p.when(unix.BPF_JEQ, unix.SYS_CLONE3, errno(unix.ENOSYS))
	for _, number := range deniedCalls() {
		p.when(unix.BPF_JEQ, number, errno(unix.EPERM))
	}
	p.argument(unix.SYS_CLONE, offsetArg0, unix.BPF_JSET, cloneNamespaces)
	p.argument(unix.SYS_SOCKET, offsetArg0, unix.BPF_JEQ, deniedFamilies...)
	p.argument(unix.SYS_IOCTL, offsetArg1, unix.BPF_JEQ, deniedIoctls...)
	p.result(unix.SECCOMP_RET_ALLOW)
	return p.code
}

// Install puts the filter on every thread of this process, for good and for all
// it starts. No thread can gain privileges by exec after it.
func Install() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("setting no_new_privs: %w", err)
	}
	code := Program()
	fprog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(code)
	if errno != 0 {
		return fmt.Errorf("installing the filter: %w", errno)
	}
	if thread != 0 {
		return fmt.Errorf("installing the filter: thread %d cannot take it", thread)
	}
	return nil
}

// program is a filter being assembled.
type program struct{ code []unix.SockFilter }

func errno(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) }

func (p *program) add(code uint16, jt, jf uint8, k uint32) {
	p.code = append(p.code, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
}

func (p *program) load(offset uint32) { p.add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0, 0, offset) }

func (p *program) result(action uint32) { p.add(unix.BPF_RET|unix.BPF_K, 0, 0, action) }

// when ends the filter with action if the comparison with k holds.
func (p *program) when(comparison uint16, k, action uint32) {
	p.add(unix.BPF_JMP|comparison|unix.BPF_K, 0, 1, k)
	p.result(action)
}

// unless ends the filter with action if the comparison with k does not hold.
func (p *program) unless(comparison uint16, k, action uint32) {
	p.add(unix.BPF_JMP|comparison|unix.BPF_K, 1, 0, k)
	p.result(action)
}

// argument ends the filter for the call of the given number: EPERM if the
// argument at offset compares with one of values, else the call is allowed.
func (p *program) argument(number, offset uint32, comparison uint16, values ...uint32) {
	rest := uint8(1 + 2*len(values) + 1)
	p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 0, rest, number)
	p.load(offset)
	for _, value := range values {
		p.when(comparison, value, errno(unix.EPERM))
	}
	p.result(unix.SECCOMP_RET_ALLOW)
}
