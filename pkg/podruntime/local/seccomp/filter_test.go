package seccomp

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// evaluate runs the filter as the kernel would.
func evaluate(t *testing.T, code []unix.SockFilter, data [64]byte) uint32 {
	t.Helper()
	var acc uint32
	for pc := 0; pc < len(code); pc++ {
		in := code[pc]
		jump := func(hit bool) {
			if hit {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		}
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.LittleEndian.Uint32(data[in.K:])
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jump(acc == in.K)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			jump(acc >= in.K)
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			jump(acc > in.K)
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			jump(acc&in.K != 0)
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		default:
			t.Fatalf("instruction %d has unknown code %#x", pc, in.Code)
		}
	}
	t.Fatal("the filter ends without a result")
	return 0
}

func TestProgram(t *testing.T) {
	allow := uint32(unix.SECCOMP_RET_ALLOW)
	tests := []struct {
		name       string
		arch       uint32
		number     uint32
		arg0, arg1 uint64
		want       uint32
	}{
		{name: "read", number: unix.SYS_READ, want: allow},
		{name: "execve", number: unix.SYS_EXECVE, want: allow},
		{name: "ptrace", number: unix.SYS_PTRACE, want: allow},
		{name: "mount", number: unix.SYS_MOUNT, want: errno(unix.EPERM)},
		{name: "unshare", number: unix.SYS_UNSHARE, want: errno(unix.EPERM)},
		{name: "keyctl", number: unix.SYS_KEYCTL, want: errno(unix.EPERM)},
		{name: "clone3", number: unix.SYS_CLONE3, want: errno(unix.ENOSYS)},
		{name: "newest known", number: lastKnown, want: allow},
		{name: "newer than known", number: lastKnown + 1, want: errno(unix.ENOSYS)},
		{name: "second abi", number: 0x40000000 | unix.SYS_READ, want: errno(unix.ENOSYS)},
		{name: "foreign architecture", arch: 0x40000003, number: unix.SYS_READ, want: errno(unix.ENOSYS)},
		{name: "clone of a thread", number: unix.SYS_CLONE, arg0: unix.CLONE_VM | unix.CLONE_THREAD, want: allow},
		{name: "clone of a user namespace", number: unix.SYS_CLONE, arg0: unix.CLONE_NEWUSER, want: errno(unix.EPERM)},
		{name: "clone of a mount namespace among others", number: unix.SYS_CLONE,
			arg0: unix.CLONE_VM | unix.CLONE_NEWNS, want: errno(unix.EPERM)},
		{name: "tcp socket", number: unix.SYS_SOCKET, arg0: unix.AF_INET, want: allow},
		{name: "vsock socket", number: unix.SYS_SOCKET, arg0: unix.AF_VSOCK, want: errno(unix.EPERM)},
		{name: "window size", number: unix.SYS_IOCTL, arg1: unix.TIOCGWINSZ, want: allow},
		{name: "typing into a terminal", number: unix.SYS_IOCTL, arg1: unix.TIOCSTI, want: errno(unix.EPERM)},
		{name: "typing with high bits set", number: unix.SYS_IOCTL, arg1: 1<<40 | unix.TIOCSTI, want: errno(unix.EPERM)},
	}
	code := Program()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.arch == 0 {
				test.arch = auditArch
			}
			var data [64]byte
			binary.LittleEndian.PutUint32(data[offsetNumber:], test.number)
			binary.LittleEndian.PutUint32(data[offsetArch:], test.arch)
			binary.LittleEndian.PutUint64(data[offsetArg0:], test.arg0)
			binary.LittleEndian.PutUint64(data[offsetArg1:], test.arg1)
			if got := evaluate(t, code, data); got != test.want {
				t.Errorf("result %#x, want %#x", got, test.want)
			}
		})
	}
}

// installedEnv makes the test binary a process that takes the filter.
const installedEnv = "ARL_TEST_SECCOMP_INSTALL"

func TestInstall(t *testing.T) {
	if os.Getenv(installedEnv) != "" {
		if err := Install(); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.KeyctlInt(unix.KEYCTL_GET_KEYRING_ID, 0, 0, 0, 0); !errors.Is(err, unix.EPERM) {
			t.Errorf("keyctl answered %v, want EPERM", err)
		}
		done := make(chan error)
		go func() { done <- unix.Unshare(unix.CLONE_NEWUTS) }()
		if err := <-done; !errors.Is(err, unix.EPERM) {
			t.Errorf("unshare on another goroutine answered %v, want EPERM", err)
		}
		if out, err := exec.Command("/proc/self/exe", "-test.run=^$").CombinedOutput(); err != nil {
			t.Errorf("a child does not run under the filter: %v\n%s", err, out)
		}
		return
	}
	// The filter stays for the life of a process, so it gets one of its own.
	child := exec.Command("/proc/self/exe", "-test.run=^TestInstall$", "-test.v")
	child.Env = append(os.Environ(), installedEnv+"=1")
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
