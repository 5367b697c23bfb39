package launch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// installedEnv makes the test binary a process that takes the filter.
const installedEnv = "ARL_TEST_SECCOMP_INSTALL"

// TestInstall makes refused calls under the real filter. Each of them answers with another error, or
// succeeds, when no filter is there.
func TestInstall(t *testing.T) {
	if os.Getenv(installedEnv) == "" {
		// The filter stays for the life of a process, so it gets one of its own.
		child := exec.Command(selfExe, "-test.run=^TestInstall$", "-test.v")
		child.Env = append(os.Environ(), installedEnv+"=1")
		if out, err := child.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	if err := install(testFilter(t)); err != nil {
		t.Fatal(err)
	}
	const none = ^uintptr(0)
	for _, call := range []struct {
		name   string
		number uintptr
		args   [3]uintptr
		want   unix.Errno
	}{
		{"unshare", unix.SYS_UNSHARE, [3]uintptr{}, unix.EPERM},
		{"setns", unix.SYS_SETNS, [3]uintptr{none}, unix.EPERM},
		{"mount", unix.SYS_MOUNT, [3]uintptr{}, unix.EPERM},
		{"move_mount", unix.SYS_MOVE_MOUNT, [3]uintptr{none, 0, none}, unix.EPERM},
		{"fsopen", unix.SYS_FSOPEN, [3]uintptr{}, unix.EPERM},
		{"keyctl", unix.SYS_KEYCTL, [3]uintptr{unix.KEYCTL_GET_KEYRING_ID}, unix.EPERM},
		{"add_key", unix.SYS_ADD_KEY, [3]uintptr{}, unix.EPERM},
		{"bpf", unix.SYS_BPF, [3]uintptr{none}, unix.EPERM},
		{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, [3]uintptr{}, unix.EPERM},
		{"userfaultfd", unix.SYS_USERFAULTFD, [3]uintptr{none}, unix.EPERM},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, [3]uintptr{}, unix.EPERM},
		{"fanotify_init", unix.SYS_FANOTIFY_INIT, [3]uintptr{none}, unix.EPERM},
		{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, [3]uintptr{none}, unix.EPERM},
		{"pidfd_getfd", unix.SYS_PIDFD_GETFD, [3]uintptr{none, none}, unix.EPERM},
		{"process_madvise", unix.SYS_PROCESS_MADVISE, [3]uintptr{none}, unix.EPERM},
		{"migrate_pages", unix.SYS_MIGRATE_PAGES, [3]uintptr{none}, unix.EPERM},
		{"clone3", unix.SYS_CLONE3, [3]uintptr{}, unix.ENOSYS},
		{"open_tree_attr", unix.SYS_OPEN_TREE_ATTR, [3]uintptr{none}, unix.ENOSYS},
		{"a call of the future", 1000, [3]uintptr{}, unix.ENOSYS},
		{"socket of AF_ALG", unix.SYS_SOCKET, [3]uintptr{unix.AF_ALG, unix.SOCK_SEQPACKET}, unix.EAFNOSUPPORT},
	} {
		if _, _, got := unix.RawSyscall(call.number, call.args[0], call.args[1], call.args[2]); got != call.want {
			t.Errorf("%s answered %v (%d), want %v", call.name, got, got, call.want)
		}
	}
	done := make(chan error)
	go func() { done <- unix.Unshare(unix.CLONE_NEWUTS) }()
	if err := <-done; !errors.Is(err, unix.EPERM) {
		t.Errorf("unshare on another goroutine answered %v, want EPERM", err)
	}
	if out, err := exec.Command(selfExe, "-test.run=^$").CombinedOutput(); err != nil {
		t.Errorf("a child does not run under the filter: %v\n%s", err, out)
	}
}

// TestReadFilter takes nothing but a whole filter: a part of one could allow what the rest refuses.
func TestReadFilter(t *testing.T) {
	filter := testFilter(t)
	message := append(binary.NativeEndian.AppendUint32(nil, uint32(len(filter))), filter...)
	if got, err := readFilter(bytes.NewReader(message)); err != nil || !bytes.Equal(got, filter) {
		t.Errorf("a whole filter: %d bytes, %v", len(got), err)
	}
	for name, data := range map[string][]byte{
		"nothing":     nil,
		"a part":      message[:len(message)-instructionBytes],
		"length zero": make([]byte, 8),
		"too long":    {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
	} {
		if _, err := readFilter(bytes.NewReader(data)); err == nil {
			t.Errorf("%s was taken for a filter", name)
		}
	}
}
