package doctor

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"arl.io/arl/pkg/podruntime/local/disk"
	"arl.io/arl/pkg/podruntime/local/filetree"
	"arl.io/arl/pkg/podruntime/local/image"
	"arl.io/arl/pkg/podruntime/local/launch"
	"arl.io/arl/pkg/podruntime/local/seccomp"
	"arl.io/arl/pkg/podruntime/local/trash"
)

// minKernel has mount_setattr, and all else that the runtime needs.
const (
	minKernelMajor = 5
	minKernelMinor = 12
)

// Free space below which the disk is reported.
const (
	warnFreeBytes = 4 << 30
	failFreeBytes = 256 << 20
)

func (d *patient) user(context.Context) Check {
	c := Check{Level: OK, Name: "user", Detail: "root: pods have their own range of users, and limits"}
	if d.rootless {
		c.Level = Warn
		c.Detail = fmt.Sprintf("rootless, user %d: user 0 of a pod is this user; no other user, no limits of CPU and memory", os.Geteuid())
		c.Fix = "run the server as root, if pods need users or limits"
		if _, err := exec.LookPath("newuidmap"); err == nil {
			c.Detail += " (newuidmap is here and not used)"
		}
	}
	return c
}

func (d *patient) kernel(context.Context) Check {
	c := Check{Level: OK, Name: "kernel"}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return Check{Level: Fail, Name: c.Name, Detail: "cannot be asked: " + err.Error()}
	}
	c.Detail = unix.ByteSliceToString(name.Release[:])
	major, minor := version(c.Detail)
	if major < minKernelMajor || (major == minKernelMajor && minor < minKernelMinor) {
		c.Level = Fail
		c.Fix = fmt.Sprintf("use a kernel of version %d.%d or newer", minKernelMajor, minKernelMinor)
	}
	return c
}

// version reads the first two numbers of a kernel's release.
func version(release string) (major, minor int) {
	first, rest, _ := strings.Cut(release, ".")
	major, _ = strconv.Atoi(first)
	digits := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if digits >= 0 {
		rest = rest[:digits]
	}
	minor, _ = strconv.Atoi(rest)
	return major, minor
}

// Switches that forbid user namespaces, with the value that permits them.
var userNamespaceSwitches = []struct{ name, permits string }{
	{"kernel.unprivileged_userns_clone", "1"},
	{"kernel.apparmor_restrict_unprivileged_userns", "0"},
}

func (d *patient) userNamespaces(context.Context) Check {
	c := Check{Level: OK, Name: "user namespaces", Detail: "can be made"}
	ids := launch.IDRange{Base: os.Geteuid(), Size: 1}
	ns, err := launch.NewUserNS(ids)
	if err == nil {
		err = ns.Close()
	}
	if err == nil {
		return c
	}
	c.Level, c.Detail = Fail, err.Error()
	if sysctl("user.max_user_namespaces") == "0" {
		c.Fix = "sysctl -w user.max_user_namespaces=15000"
	}
	for _, s := range userNamespaceSwitches {
		if value := sysctl(s.name); d.rootless && value != "" && value != s.permits {
			c.Fix = fmt.Sprintf("sysctl -w %s=%s", s.name, s.permits)
		}
	}
	if c.Fix == "" {
		c.Fix = "if this is a container, give it the right to make namespaces, for instance docker run --privileged"
	}
	return c
}

// sysctl returns the value of a switch, or nothing if the kernel has none such.
func sysctl(name string) string {
	data, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func (d *patient) overlay(ctx context.Context) Check {
	c := Check{Level: OK, Name: "overlay", Detail: "can be mounted on " + d.existing}
	if d.rootless {
		c.Detail += " in a user namespace"
	}
	err := launch.ProbeOverlay(ctx, d.existing, d.rootless)
	if err == nil {
		return c
	}
	c.Level, c.Detail = Fail, err.Error()
	filesystems, readErr := os.ReadFile("/proc/filesystems")
	switch {
	case readErr == nil && !strings.Contains(string(filesystems), "overlay"):
		c.Fix = "modprobe overlay"
	default:
		c.Fix = "name a --data-dir on ext4, xfs, btrfs or tmpfs: a container's own root, for one, takes no overlay"
	}
	return c
}

func (d *patient) idMap(context.Context) Check {
	c := Check{Level: OK, Name: "idmapped mounts", Detail: "work on " + d.existing}
	if d.rootless {
		c.Detail = "not needed without root"
		return c
	}
	if err := d.checkIDMap(); err != nil {
		c.Level = Warn
		c.Detail = "root of a pod owns files as root of the machine does, in a user namespace of its own: " + err.Error()
		c.Fix = "name a --data-dir on ext4, xfs or btrfs"
	}
	return c
}

func (d *patient) seccomp(context.Context) Check {
	c := Check{Level: OK, Name: "seccomp", Detail: "filters system calls by an allow list, Docker's default profile narrowed"}
	if _, err := os.Stat("/proc/sys/kernel/seccomp/actions_avail"); err != nil {
		c.Level, c.Detail = Fail, "the kernel has no seccomp filters"
		c.Fix = "use a kernel built with CONFIG_SECCOMP_FILTER"
		return c
	}
	if _, err := seccomp.Filter(nil); err != nil {
		c.Level, c.Detail = Fail, err.Error()
		c.Fix = "run the server on amd64 or arm64"
	}
	return c
}

func (d *patient) stage(context.Context) Check {
	c := Check{Level: OK, Name: "mount point", Detail: "there is one for a pod's root"}
	if err := launch.ProbeStage(d.Dir, d.AgentPath); err != nil {
		c.Level, c.Detail, c.Fix = Fail, err.Error(), "mkdir -m 0755 /mnt"
	}
	return c
}

func (d *patient) disk(context.Context) Check {
	c := Check{Level: OK, Name: "disk"}
	var fs unix.Statfs_t
	if err := unix.Statfs(d.existing, &fs); err != nil {
		return Check{Level: Fail, Name: c.Name, Detail: d.existing + ": " + err.Error()}
	}
	free := fs.Bavail * uint64(fs.Bsize)
	c.Detail = fmt.Sprintf("%.1f GiB free on %s", float64(free)/(1<<30), d.existing)
	switch {
	case free < failFreeBytes:
		c.Level = Fail
	case free < warnFreeBytes:
		c.Level = Warn
	}
	if c.Level != OK {
		c.Fix = "make room, or name another --data-dir"
	}
	return c
}

// podStorage says what keeps pods from filling the disk.
func (d *patient) podStorage(context.Context) Check {
	c := Check{Level: OK, Name: "pod storage"}
	space, err := disk.SpaceOf(d.existing)
	if err != nil {
		return Check{Level: Warn, Name: c.Name, Detail: err.Error(), Fix: "name another --data-dir"}
	}
	reserve := disk.ReserveOf(space, disk.MinFree(d.Dir, d.MinFree))
	c.Detail = fmt.Sprintf("is measured: a pod that takes more than %s fails, and the one that takes most when less than %s or %d files are left",
		image.FormatBytes(d.StorageLimit), image.FormatBytes(int64(reserve.Bytes)), reserve.Files)
	if d.StorageLimit == 0 {
		c.Level = Warn
		c.Detail = fmt.Sprintf("is measured: pods have no limit but those of their templates; the pod that takes most fails when less than %s or %d files are left",
			image.FormatBytes(int64(reserve.Bytes)), reserve.Files)
		c.Fix = "give --pod-ephemeral-storage-limit a size, such as 10Gi"
	}
	return c
}

// images says what the unpacked images take.
func (d *patient) images(context.Context) Check {
	c := Check{Level: OK, Name: "images", Detail: "none is stored"}
	stored, err := image.List(d.ImagesDir)
	if err != nil {
		return Check{Level: Warn, Name: c.Name, Detail: err.Error(), Fix: "run doctor as the user of the server"}
	}
	var total int64
	for _, s := range stored {
		total += s.Bytes
	}
	disk, err := image.DiskOf(d.existing)
	if err != nil {
		return Check{Level: Warn, Name: c.Name, Detail: err.Error()}
	}
	if len(stored) > 0 {
		c.Detail = fmt.Sprintf("%d take %s in %s", len(stored), image.FormatBytes(total), d.ImagesDir)
	}
	c.Detail += fmt.Sprintf("; %d%% of the disk is in use", disk.UsedPercent())
	return c
}

// trash says what is left of deleted pods and images.
func (d *patient) trash(ctx context.Context) Check {
	c := Check{Level: OK, Name: "trash", Detail: "nothing is left of deleted pods and images"}
	items, err := trash.List(ctx, d.TrashDir)
	if err != nil {
		return Check{Level: Warn, Name: c.Name, Detail: err.Error(), Fix: "run doctor as the user of the server"}
	}
	if len(items) == 0 {
		return c
	}
	var total filetree.Usage
	for _, item := range items {
		total = total.Add(item.Usage)
	}
	c.Level, c.Detail = Warn, fmt.Sprintf("%d leftovers of deleted pods and images take %s in %s", len(items), image.FormatBytes(total.Bytes), d.TrashDir)
	if total.Partial {
		c.Detail += " or more"
	}
	c.Fix = "a server removes them when it runs, and its log names what cannot be removed; without a server, arl-apiserver purge does"
	return c
}

func (d *patient) agent(context.Context) Check {
	c := Check{Level: OK, Name: "agent", Detail: d.AgentPath}
	fail := func(detail, fix string) Check {
		return Check{Level: Fail, Name: c.Name, Detail: detail, Fix: fix}
	}
	const build = "CGO_ENABLED=0 go build -o bin/arl-agent ./cmd/agent"
	info, err := os.Stat(d.AgentPath)
	if err != nil {
		return fail(err.Error(), build)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o005 != 0o005 {
		return fail(d.AgentPath+" is no file that everyone may read and execute", "chmod 0755 "+d.AgentPath)
	}
	binary, err := elf.Open(d.AgentPath)
	if err != nil {
		return fail(fmt.Sprintf("%s is no program: %v", d.AgentPath, err), build)
	}
	defer binary.Close()
	for _, program := range binary.Progs {
		if program.Type == elf.PT_INTERP {
			return fail(d.AgentPath+" is linked to libraries, which an image may not have", build)
		}
	}
	return c
}
