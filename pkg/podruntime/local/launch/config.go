package launch

import (
	"fmt"
	"os"

	"github.com/opencontainers/cgroups"
	// Without it the manager of cgroups cannot set device rules.
	_ "github.com/opencontainers/cgroups/devices"
	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"golang.org/x/sys/unix"
)

// CPUPeriodMicros is the period of Cgroup.CPUQuotaMicros, the kernel's own default.
const CPUPeriodMicros = 100_000

// maskedPaths tell of the machine what a container has no use for.
var maskedPaths = []string{
	"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
	"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
	"/sys/devices/virtual/powercap", "/sys/firmware",
}

var readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

// containerConfig says to libcontainer what spec says to us. The container joins the user namespace
// users; if that is nil, it stays in the launcher's.
func containerConfig(spec *Spec, rootfs string, users *os.File) *configs.Config {
	config := &configs.Config{
		Rootfs:          rootfs,
		Hostname:        spec.Hostname,
		Namespaces:      namespaces(users),
		Mounts:          append(systemMounts(spec.Rootless), podMounts(spec.Mounts)...),
		Devices:         deviceNodes(),
		Networks:        []*configs.Network{{Type: "loopback"}},
		NoNewPrivileges: true,
		// A keyring of its own for each container runs into the user's quota
		// of keys; the seccomp filter keeps containers from theirs instead.
		NoNewKeyring:    true,
		RootlessCgroups: spec.Cgroup.Unlimited,
		MaskPaths:       append(append([]string(nil), maskedPaths...), spec.Hidden...),
		ReadonlyPaths:   readonlyPaths,
		Cgroups:         CgroupConfig(spec.ID, spec.Cgroup),
		// No set is ambient: a process that is not root has no capability at all.
		Capabilities: &configs.Capabilities{
			Bounding: spec.Capabilities, Effective: spec.Capabilities, Permitted: spec.Capabilities,
		},
	}
	if users != nil {
		mapping := []configs.IDMap{{ContainerID: 0, HostID: int64(spec.IDs.Base), Size: int64(spec.IDs.Size)}}
		config.UIDMappings, config.GIDMappings = mapping, mapping
	}
	return config
}

func namespaces(users *os.File) configs.Namespaces {
	list := configs.Namespaces{
		{Type: configs.NEWNS}, {Type: configs.NEWPID}, {Type: configs.NEWNET},
		{Type: configs.NEWIPC}, {Type: configs.NEWUTS},
	}
	if configs.IsNamespaceSupported(configs.NEWCGROUP) {
		list = append(list, configs.Namespace{Type: configs.NEWCGROUP})
	}
	if users != nil {
		path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), users.Fd())
		list = append(list, configs.Namespace{Type: configs.NEWUSER, Path: path})
	}
	return list
}

func systemMounts(rootless bool) []*configs.Mount {
	const plain = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	pts := fmt.Sprintf("newinstance,ptmxmode=0666,mode=0620,max=%d", maxTerminals)
	if !rootless {
		// The group tty; an ordinary user cannot map it.
		pts += ",gid=5"
	}
	mounts := []*configs.Mount{
		{Source: "proc", Destination: "/proc", Device: "proc", Flags: plain},
		{Source: "tmpfs", Destination: "/dev", Device: "tmpfs",
			Flags: unix.MS_NOSUID | unix.MS_STRICTATIME, Data: "mode=755,size=65536k"},
		{Source: "devpts", Destination: "/dev/pts", Device: "devpts", Flags: unix.MS_NOSUID | unix.MS_NOEXEC, Data: pts},
		{Source: "shm", Destination: "/dev/shm", Device: "tmpfs", Flags: plain, Data: "mode=1777,size=512m"},
		{Source: "mqueue", Destination: "/dev/mqueue", Device: "mqueue", Flags: plain},
		{Source: "sysfs", Destination: "/sys", Device: "sysfs", Flags: plain | unix.MS_RDONLY},
	}
	if cgroups.IsCgroup2UnifiedMode() {
		// Language runtimes read their limits here.
		mounts = append(mounts, &configs.Mount{
			Source: "cgroup", Destination: "/sys/fs/cgroup", Device: "cgroup", Flags: plain | unix.MS_RDONLY,
		})
	}
	return mounts
}

func podMounts(mounts []Mount) []*configs.Mount {
	var list []*configs.Mount
	for _, m := range mounts {
		mount := &configs.Mount{Source: m.Source, Destination: m.Target, Flags: unix.MS_NOSUID | unix.MS_NODEV}
		if m.ReadOnly {
			mount.Flags |= unix.MS_RDONLY
		}
		if m.Source != "" {
			mount.Device = "bind"
			mount.Flags |= unix.MS_BIND
		} else {
			mount.Source, mount.Device, mount.Data = "tmpfs", "tmpfs", "mode=1777"
			if m.SizeBytes > 0 {
				mount.Data += fmt.Sprintf(",size=%d", m.SizeBytes)
			}
		}
		list = append(list, mount)
	}
	return list
}

// deviceNodes are null, zero, full, random, urandom and tty.
func deviceNodes() []*devices.Device {
	var nodes []*devices.Device
	for _, device := range specconv.AllowedDevices {
		if device.Path != "" {
			nodes = append(nodes, device)
		}
	}
	return nodes
}

// CgroupConfig names the cgroup of the container id, and bounds it. The same
// arguments name the same cgroup, so that it can be found and removed whatever
// became of the launcher.
func CgroupConfig(id string, limits Cgroup) *cgroups.Cgroup {
	resources := &cgroups.Resources{}
	for _, device := range specconv.AllowedDevices {
		resources.Devices = append(resources.Devices, &device.Rule)
	}
	if !limits.Unlimited {
		resources.CpuShares = limits.CPUShares
		if limits.CPUQuotaMicros > 0 {
			resources.CpuQuota, resources.CpuPeriod = limits.CPUQuotaMicros, CPUPeriodMicros
		}
		resources.Memory = limits.MemoryBytes
		if limits.Pids > 0 {
			resources.PidsLimit = &limits.Pids
		}
		if cgroups.IsCgroup2UnifiedMode() {
			resources.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(limits.CPUShares)
			// No swap on top of the limit. The first hierarchy has a file for
			// it only where the machine was started with swap accounting.
			resources.MemorySwap = limits.MemoryBytes
		}
	}
	return &cgroups.Cgroup{Name: id, Parent: limits.Parent, Resources: resources, Rootless: limits.Unlimited}
}
