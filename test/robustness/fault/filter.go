//go:build linux

package fault

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offsets into struct seccomp_data.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

// waitKillable keeps signals that do not kill from interrupting a call that a
// supervisor looks at: it would be shown twice.
const waitKillable = 0x20

var arches = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

func load(off uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: off}
}

func ret(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}

// unless skips n instructions if the comparison with k does not hold.
func unless(comparison uint16, k uint32, n uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | comparison | unix.BPF_K, K: k, Jf: n}
}

// program catches the calls of kinds; of mmap those that map a file, of
// openat those that may create one.
func program() ([]unix.SockFilter, error) {
	arch, known := arches[runtime.GOARCH]
	if !known {
		return nil, fmt.Errorf("no filter for %s", runtime.GOARCH)
	}
	p := []unix.SockFilter{
		load(offArch),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: arch, Jt: 1},
		ret(unix.SECCOMP_RET_ALLOW),
		load(offNumber),
	}
	for number := range kinds {
		switch number {
		case unix.SYS_MMAP:
			p = append(p, unless(unix.BPF_JEQ, number, 4),
				load(offArgs+4*8),
				unless(unix.BPF_JEQ, 1<<32-1, 1),
				ret(unix.SECCOMP_RET_ALLOW),
				ret(unix.SECCOMP_RET_USER_NOTIF))
		case unix.SYS_OPENAT:
			p = append(p, unless(unix.BPF_JEQ, number, 4),
				load(offArgs+2*8),
				unless(unix.BPF_JSET, unix.O_CREAT, 1),
				ret(unix.SECCOMP_RET_USER_NOTIF),
				ret(unix.SECCOMP_RET_ALLOW))
		default:
			p = append(p, unless(unix.BPF_JEQ, number, 1), ret(unix.SECCOMP_RET_USER_NOTIF))
		}
	}
	return append(p, ret(unix.SECCOMP_RET_ALLOW)), nil
}

// Install has all threads of this process caught from now on and sends the
// listener through a unix socket. It cannot be undone.
func Install(socket int) error {
	filter, err := program()
	if err != nil {
		return err
	}
	runtime.LockOSThread() // both calls are about the thread that makes them
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_TSYNC |
		unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH | waitKillable
	listener, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("install a seccomp filter with a listener: %w", errno)
	}
	err = unix.Sendmsg(socket, []byte{0}, unix.UnixRights(int(listener)), nil, 0)
	return errors.Join(err, unix.Close(int(listener)), unix.Close(socket))
}
