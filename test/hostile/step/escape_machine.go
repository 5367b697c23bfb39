package step

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// escapes are all attempts to leave the pod or to take over its agent.
func escapes() []attempt {
	return append(append(againstAgent(), againstKernel()...), againstMachine()...)
}

// againstMachine are attempts at files and sockets of the machine.
func againstMachine() []attempt {
	var attempts []attempt
	add := func(name string, try func() error) { attempts = append(attempts, attempt{name: name, try: try}) }
	for _, name := range []string{
		"/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/panic",
		"/proc/sys/vm/drop_caches", "/proc/sys/fs/file-max", "/proc/sys/user/max_user_namespaces", "/proc/irq/default_smp_affinity",
		"/sys/kernel/uevent_helper", "/sys/power/state", "/sys/kernel/mm/transparent_hugepage/enabled",
		"/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory/cgroup.procs",
		"/usr/bin/env", "/etc/ld.so.preload", "/bin/sh",
	} {
		add("write "+name, func() error { return openFile(name, os.O_WRONLY) })
	}
	for _, name := range []string{
		"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/latency_stats",
		"/sys/firmware/dmi/tables/DMI", "/sys/kernel/debug/sched", "/dev/mem", "/dev/kmsg", "/dev/kvm", "/dev/sda", "/dev/vda", "/dev/fuse",
		"/etc/shadow", "/var/run/docker.sock", "/run/containerd/containerd.sock",
	} {
		add("read "+name, func() error { return readSome(name) })
	}
	add("see processes of the machine", func() error {
		found, err := filepath.Glob("/proc/[0-9]*")
		if err == nil && len(found) < 10 {
			err = os.ErrNotExist
		}
		return err
	})
	if port := os.Getenv(PortVariable); port != "" {
		add("connect to the machine's loopback", func() error { return dial("tcp", "127.0.0.1:"+port) })
		add("connect to the machine's loopback by IPv6", func() error { return dial("tcp", "[::1]:"+port) })
	}
	if socket := os.Getenv(SocketVariable); socket != "" {
		add("connect to an abstract socket of the machine", func() error { return dial("unix", "@"+socket) })
	}
	return attempts
}

// readSome returns nil if a byte can be read.
func readSome(name string) error {
	file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.Read(make([]byte, 1))
	return err
}

func dial(network, address string) error {
	conn, err := net.DialTimeout(network, address, 5*time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}
