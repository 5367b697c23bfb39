package launch

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// What a pod can have of things that the kernel counts by user. The kernel charges the owner of the
// pod's user namespace as well, so these bound all users of the pod together.
const (
	// maxInotifyInstances is the kernel's own default for a user.
	maxInotifyInstances = 128
	// maxInotifyWatches is enough for the source tree of a large program.
	maxInotifyWatches = 65536
	// A rootless server's pods share its user, who has 128 instances in all.
	maxSharedInotifyInstances = 16
	maxSharedInotifyWatches   = 8192
	// maxTerminals: all pods of the machine together have kernel.pty.max less a reserve, usually 3072.
	maxTerminals = 64
)

// rlimit is a resource limit of every process of a pod.
type rlimit struct {
	resource int
	name     string
	soft     uint64
	hard     uint64
}

const unlimited = ^uint64(0)

// resourceLimits are all that there are, so that none comes from how the server was started. Memory
// and processor time are bounded by cgroups instead.
func resourceLimits(pids int64) []rlimit {
	processes := unlimited
	if pids > 0 {
		processes = uint64(pids)
	}
	same := func(resource int, name string, n uint64) rlimit { return rlimit{resource, name, n, n} }
	return []rlimit{
		same(unix.RLIMIT_AS, "as", unlimited),
		// A core would be written to the pod's disk, as large as the program's memory.
		same(unix.RLIMIT_CORE, "core", 0),
		same(unix.RLIMIT_CPU, "cpu", unlimited),
		same(unix.RLIMIT_DATA, "data", unlimited),
		same(unix.RLIMIT_FSIZE, "fsize", unlimited),
		same(unix.RLIMIT_LOCKS, "locks", unlimited),
		// The kernel's own default.
		same(unix.RLIMIT_MEMLOCK, "memlock", 8<<20),
		// The kernel's own default.
		same(unix.RLIMIT_MSGQUEUE, "msgqueue", 819200),
		same(unix.RLIMIT_NICE, "nice", 0),
		// Also the bound of descriptors on their way through sockets. Far more than programs use, and few
		// enough for those that close all they could have.
		same(unix.RLIMIT_NOFILE, "nofile", 65536),
		// As in the cgroup, for a server that may not make any.
		same(unix.RLIMIT_NPROC, "nproc", processes),
		same(unix.RLIMIT_RSS, "rss", unlimited),
		same(unix.RLIMIT_RTPRIO, "rtprio", 0),
		same(unix.RLIMIT_RTTIME, "rttime", unlimited),
		// Signals queued and timers together. The kernel's own default grows with the machine's memory.
		same(unix.RLIMIT_SIGPENDING, "sigpending", 8192),
		{unix.RLIMIT_STACK, "stack", 8 << 20, unlimited},
	}
}

// applyResourceLimits gives this process the limits, for all that it starts. The kernel also makes the
// numbers of processes, signals, bytes of queues and of locked memory the bounds of a user namespace
// that is made afterwards.
func applyResourceLimits(pids int64) error {
	for _, l := range resourceLimits(pids) {
		if err := l.apply(); err != nil {
			return fmt.Errorf("resource limit %s: %w", l.name, err)
		}
	}
	return nil
}

// apply sets the limit, or the highest lower one that this process may have.
func (l rlimit) apply() error {
	wanted := syscall.Rlimit{Cur: l.soft, Max: l.hard}
	err := syscall.Setrlimit(l.resource, &wanted)
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	var now syscall.Rlimit
	if err := syscall.Getrlimit(l.resource, &now); err != nil {
		return err
	}
	wanted.Cur, wanted.Max = min(wanted.Cur, now.Max), min(wanted.Max, now.Max)
	return syscall.Setrlimit(l.resource, &wanted)
}

// setting is a value of /proc/sys/user, which each user namespace has its own of.
type setting struct {
	name  string
	value int
}

func (s setting) path() string { return "/proc/sys/user/" + s.name }

// nsSettings bound what is made in a pod's user namespace. The pod's own namespaces are all that there
// are ever to be. A rootless server's launcher has a mount namespace in it besides.
func nsSettings(rootless bool) []setting {
	mounts, instances, watches := 1, maxInotifyInstances, maxInotifyWatches
	if rootless {
		mounts, instances, watches = 2, maxSharedInotifyInstances, maxSharedInotifyWatches
	}
	return []setting{
		{"max_user_namespaces", 0},
		{"max_time_namespaces", 0},
		{"max_mnt_namespaces", mounts},
		{"max_pid_namespaces", 1},
		{"max_net_namespaces", 1},
		{"max_ipc_namespaces", 1},
		{"max_uts_namespaces", 1},
		{"max_cgroup_namespaces", 1},
		{"max_inotify_instances", instances},
		{"max_inotify_watches", watches},
		{"max_fanotify_groups", 0},
		{"max_fanotify_marks", 0},
	}
}

// encodeSettings writes settings down in the form that cloneUserNS takes.
func encodeSettings(settings []setting) []byte {
	var data []byte
	for _, s := range settings {
		data = append(append(data, s.path()...), 0)
		data = append(strconv.AppendInt(data, int64(s.value), 10), 0)
	}
	return append(data, 0)
}

// applySettings writes the settings in the user namespace of this process.
func applySettings(settings []setting) error {
	for _, s := range settings {
		file, err := os.OpenFile(s.path(), os.O_WRONLY, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue // A kernel without the setting does not have what it bounds.
		}
		if err != nil {
			return err
		}
		_, err = file.WriteString(strconv.Itoa(s.value))
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
	}
	return nil
}

// AllPodsProcesses returns how many processes all pods of the machine have together. The rest is the
// machine's own: without a free process nobody could end those of pods. It is 0 if it is not known.
func AllPodsProcesses() int64 {
	var least int64
	for _, path := range []string{"/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"} {
		text, err := os.ReadFile(path)
		if err != nil {
			return 0
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			return 0
		}
		if least == 0 || n < least {
			least = n
		}
	}
	return least / 4 * 3
}
