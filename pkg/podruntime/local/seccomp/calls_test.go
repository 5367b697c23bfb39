package seccomp

import (
	"testing"

	"golang.org/x/sys/unix"
)

// dangerous are refused with EPERM whatever the container's capabilities: no template can add those
// that would allow them.
var dangerous = []string{
	// Mounts and roots.
	"mount", "umount2", "pivot_root", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick",
	"mount_setattr", "quotactl", "quotactl_fd", "swapon", "swapoff",
	// A handle opens a file whatever the path to it.
	"open_by_handle_at",
	// Namespaces.
	"setns", "unshare", "sethostname", "setdomainname",
	// The kernel itself.
	"init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "syslog", "acct", "nfsservctl",
	"vhangup", "lookup_dcookie",
	// Keyrings are shared by all containers of a user.
	"add_key", "request_key", "keyctl",
	// Large kernel code with a history, of no use to a step.
	"bpf", "perf_event_open", "userfaultfd", "fanotify_init", "io_uring_setup", "io_uring_enter", "io_uring_register",
	// Clocks, and the placement of memory, are the machine's.
	"settimeofday", "clock_settime", "migrate_pages", "move_pages",
	// Security modules.
	"lsm_set_self_attr",
}

func TestDangerousCallsAreRefused(t *testing.T) {
	for name, s := range map[string]simulator{
		"none":        newSimulator(t),
		"default":     newSimulator(t, defaults...),
		"all addable": newSimulator(t, append([]string{"CAP_NET_ADMIN", "CAP_SYS_NICE", "CAP_SYS_PTRACE"}, defaults...)...),
	} {
		for _, call := range dangerous {
			if got := s.named(call); got != fails(unix.EPERM) {
				t.Errorf("capabilities %s: %s: result %#x, want EPERM", name, call, got)
			}
		}
	}
}

func TestCallsByCapability(t *testing.T) {
	plain, tracer, nice, root := newSimulator(t), newSimulator(t, "CAP_SYS_PTRACE"), newSimulator(t, "CAP_SYS_NICE"), newSimulator(t, defaults...)
	for _, name := range []string{"pidfd_getfd", "kcmp", "process_madvise"} {
		if got := root.named(name); got != fails(unix.EPERM) {
			t.Errorf("%s without SYS_PTRACE: result %#x, want EPERM", name, got)
		}
		if got := tracer.named(name); got != allow {
			t.Errorf("%s with SYS_PTRACE: result %#x", name, got)
		}
	}
	for _, name := range []string{"mbind", "set_mempolicy", "get_mempolicy"} {
		if got := root.named(name); got != fails(unix.EPERM) {
			t.Errorf("%s without SYS_NICE: result %#x, want EPERM", name, got)
		}
		if got := nice.named(name); got != allow {
			t.Errorf("%s with SYS_NICE: result %#x", name, got)
		}
	}
	if got := plain.named("chroot"); got != fails(unix.EPERM) {
		t.Errorf("chroot without SYS_CHROOT: result %#x, want EPERM", got)
	}
	if got := root.named("chroot"); got != allow {
		t.Errorf("chroot with SYS_CHROOT: result %#x", got)
	}
}

func TestOrdinaryCallsAreAllowed(t *testing.T) {
	s := newSimulator(t)
	for _, name := range []string{
		"read", "write", "openat", "openat2", "close_range", "mmap", "mprotect", "brk", "execve", "execveat", "wait4", "waitid",
		"futex", "futex_waitv", "rseq", "set_robust_list", "getrandom", "statx", "renameat2", "copy_file_range", "fallocate",
		"flock", "fcntl", "inotify_init1", "epoll_create1", "epoll_pwait2", "eventfd2", "timerfd_create", "signalfd4",
		"memfd_create", "pidfd_open", "pidfd_send_signal", "ptrace", "process_vm_readv", "landlock_create_ruleset",
		"seccomp", "prctl", "setresuid", "setgroups", "sched_setaffinity", "shmget", "mq_open", "membarrier",
		"accept4", "bind", "sendmmsg", "splice", "mseal", "cachestat", "fchmodat2", "setxattrat",
	} {
		if got := s.named(name); got != allow {
			t.Errorf("%s: result %#x", name, got)
		}
	}
}

// TestCallsWithArguments has calls that depend on their arguments, among them values with which a
// filter could be passed by: the kernel ignores the high half of some arguments.
func TestCallsWithArguments(t *testing.T) {
	s := newSimulator(t, defaults...)
	const high = 1 << 40
	noFamily := fails(unix.EAFNOSUPPORT)
	for _, test := range []struct {
		name string
		call string
		args []uint64
		want uint32
	}{
		{"a thread", "clone", []uint64{unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND}, allow},
		{"a process with a descriptor", "clone", []uint64{unix.CLONE_PIDFD | uint64(unix.SIGCHLD)}, allow},
		{"a user namespace", "clone", []uint64{unix.CLONE_NEWUSER}, fails(unix.EPERM)},
		{"a mount namespace among others", "clone", []uint64{unix.CLONE_VM | unix.CLONE_NEWNS}, fails(unix.EPERM)},
		{"a network namespace with high bits", "clone", []uint64{high | unix.CLONE_NEWNET}, fails(unix.EPERM)},
		{"requests that count for the machine", "io_setup", []uint64{1}, fails(unix.ENOSYS)},
		{"flags that a filter cannot read", "clone3", nil, fails(unix.ENOSYS)},
		{"the default personality", "personality", []uint64{0}, allow},
		{"asking for the personality", "personality", []uint64{0xffffffff}, allow},
		{"no randomized addresses", "personality", []uint64{0x40000}, fails(unix.EPERM)},
		{"tcp", "socket", []uint64{unix.AF_INET, unix.SOCK_STREAM}, allow},
		{"unix", "socket", []uint64{unix.AF_UNIX}, allow},
		{"netlink", "socket", []uint64{unix.AF_NETLINK}, allow},
		{"tcp with high bits", "socket", []uint64{high | unix.AF_INET}, allow},
		{"vsock", "socket", []uint64{unix.AF_VSOCK}, noFamily},
		{"alg", "socket", []uint64{unix.AF_ALG}, noFamily},
		{"alg with high bits", "socket", []uint64{high | unix.AF_ALG}, noFamily},
		{"bluetooth", "socket", []uint64{unix.AF_BLUETOOTH}, noFamily},
		{"a pair of tipc", "socketpair", []uint64{unix.AF_TIPC}, noFamily},
		{"a pair of unix", "socketpair", []uint64{unix.AF_UNIX}, allow},
		{"window size", "ioctl", []uint64{0, unix.TIOCGWINSZ}, allow},
		{"typing into a terminal", "ioctl", []uint64{0, unix.TIOCSTI}, fails(unix.EPERM)},
		{"typing with high bits", "ioctl", []uint64{0, high | unix.TIOCSTI}, fails(unix.EPERM)},
		{"pasting into a terminal", "ioctl", []uint64{0, unix.TIOCLINUX}, fails(unix.EPERM)},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := s.named(test.call, test.args...); got != test.want {
				t.Errorf("result %#x, want %#x", got, test.want)
			}
		})
	}
	for family := range uint64(256) {
		want := noFamily
		for _, known := range families {
			if family == uint64(known) {
				want = allow
			}
		}
		if got := s.named("socket", family); got != want {
			t.Errorf("socket of family %d: result %#x, want %#x", family, got, want)
		}
	}
}

func BenchmarkFilter(b *testing.B) {
	for b.Loop() {
		if _, err := Filter(defaults); err != nil {
			b.Fatal(err)
		}
	}
}
