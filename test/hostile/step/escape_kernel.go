package step

import (
	"os"
	"os/exec"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// againstKernel are system calls that no step needs. All arguments are harmless where a call should
// succeed after all.
func againstKernel() []attempt {
	var attempts []attempt
	add := func(name string, try func() error) { attempts = append(attempts, attempt{name: name, try: try}) }
	call := func(name string, number uintptr, args ...uintptr) {
		add("call "+name, func() error { return refusedCall(number, args...) })
	}
	root, _ := unix.BytePtrFromString("/")
	nowhere, _ := unix.BytePtrFromString("/nowhere")
	text := uintptr(unsafe.Pointer(nowhere))
	zeros := make([]byte, 4096)
	buffer := uintptr(unsafe.Pointer(&zeros[0]))
	const far = ^uintptr(0)

	add("mount a file system in memory", func() error { return unix.Mount("none", "/mnt", "tmpfs", 0, "") })
	add("mount proc again", func() error { return unix.Mount("proc", "/mnt", "proc", 0, "") })
	add("bind a directory", func() error { return unix.Mount("/tmp", "/mnt", "", unix.MS_BIND, "") })
	add("make the root writable", func() error { return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND, "") })
	add("unmount proc", func() error { return unix.Unmount("/proc", unix.MNT_DETACH) })
	add("change the root of the namespace", func() error { return unix.PivotRoot("/tmp", "/tmp") })
	call("open_tree", unix.SYS_OPEN_TREE, uintptr(unsafe.Pointer(root)), uintptr(unsafe.Pointer(root)), unix.OPEN_TREE_CLONE)
	call("fsopen", unix.SYS_FSOPEN, text, 0)
	call("move_mount", unix.SYS_MOVE_MOUNT, far, text, far, text, 0)
	call("mount_setattr", unix.SYS_MOUNT_SETATTR, far, text, 0, buffer, 32)
	call("open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, far, buffer, 0)
	call("quotactl", unix.SYS_QUOTACTL, far, text, 0, buffer)
	call("swapon", unix.SYS_SWAPON, text, 0)
	for _, space := range []string{"mnt", "net", "pid", "user", "ipc", "uts", "cgroup"} {
		add("enter the agent's namespace "+space, func() error { return enter("/proc/1/ns/" + space) })
	}
	for name, flag := range map[string]uintptr{
		"user": unix.CLONE_NEWUSER, "mnt": unix.CLONE_NEWNS, "net": unix.CLONE_NEWNET, "pid": unix.CLONE_NEWPID,
	} {
		call("unshare of "+name, unix.SYS_UNSHARE, flag)
		add("start a process in a new namespace "+name, func() error { return startIn(flag) })
	}
	call("keyctl", unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, ^uintptr(0), 0)
	call("add_key", unix.SYS_ADD_KEY, text, text, buffer, 1, ^uintptr(3))
	call("request_key", unix.SYS_REQUEST_KEY, text, text, 0, 0)
	call("io_uring_setup", unix.SYS_IO_URING_SETUP, 1, buffer)
	call("userfaultfd", unix.SYS_USERFAULTFD, unix.O_CLOEXEC)
	call("bpf", unix.SYS_BPF, unix.BPF_MAP_CREATE, buffer, 0)
	call("perf_event_open", unix.SYS_PERF_EVENT_OPEN, buffer, 0, far, far, 0)
	call("fanotify_init", unix.SYS_FANOTIFY_INIT, 0, 0)
	call("init_module", unix.SYS_INIT_MODULE, buffer, 0, text)
	call("finit_module", unix.SYS_FINIT_MODULE, far, text, 0)
	call("delete_module", unix.SYS_DELETE_MODULE, text, 0)
	call("kexec_load", unix.SYS_KEXEC_LOAD, 0, 0, 0, far)
	call("reboot", unix.SYS_REBOOT, 0, 0, 0)
	call("acct", unix.SYS_ACCT, text)
	call("syslog", unix.SYS_SYSLOG, 3, buffer, 1)
	call("clock_settime", unix.SYS_CLOCK_SETTIME, unix.CLOCK_REALTIME, 0)
	call("settimeofday", unix.SYS_SETTIMEOFDAY, 0, buffer)
	call("move_pages", unix.SYS_MOVE_PAGES, 1, 0, 0, 0, 0, 0)
	call("vhangup", unix.SYS_VHANGUP)
	add("make a block device", func() error { return device(unix.S_IFBLK, 254, 0) })
	add("make a device of the machine's memory", func() error { return device(unix.S_IFCHR, 1, 1) })
	add("speak to the hypervisor", vsock)
	return attempts
}

func enter(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return unix.Setns(int(file.Fd()), 0)
}

func startIn(flag uintptr) error {
	command := exec.Command("/proc/self/exe", "--version")
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flag}
	return command.Run()
}

// device makes a device and opens it.
func device(kind uint32, major, minor uint32) error {
	const name = "/tmp/hostile-device"
	if err := unix.Mknod(name, kind|0o600, int(unix.Mkdev(major, minor))); err != nil {
		return err
	}
	defer os.Remove(name)
	return openFile(name, os.O_RDONLY)
}

// vsock asks for a way to the hypervisor, which no network namespace contains.
func vsock() error {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_HOST, Port: 1})
	if err == unix.EINPROGRESS {
		time.Sleep(10 * time.Millisecond)
		err = nil
	}
	return err
}
