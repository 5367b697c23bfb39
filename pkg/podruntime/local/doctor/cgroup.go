package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/cgroups"

	"arl.io/arl/pkg/podruntime/local/launch"
)

const cgroupRoot = "/sys/fs/cgroup"

// controllers carry out the limits of pods.
var controllers = []string{"cpu", "memory", "pids"}

func (d *patient) cgroups(context.Context) Check {
	c := Check{Level: OK, Name: "cgroups"}
	kind, have := cgroupKind()
	c.Detail = kind
	if d.rootless {
		// Without limits there is no need for cgroups; libcontainer looks for
		// the mounts all the same.
		if _, err := os.Stat(cgroupRoot); err != nil {
			return Check{Level: Fail, Name: c.Name, Detail: "not mounted", Fix: "mount -t cgroup2 none " + cgroupRoot}
		}
		c.Level, c.Detail = Warn, kind+", not ours to use without root: pods have no limits"
		c.Fix = "run the server as root, if pods need limits"
		return c
	}
	name := fmt.Sprintf("/arl-doctor-%d", os.Getpid())
	err := launch.MakeCgroup(name, 0)
	if err == nil {
		err = launch.RemoveCgroup(name)
	}
	if err != nil {
		c.Level = Warn
		c.Detail = fmt.Sprintf("%s, not writable, so pods have no limits: %v", kind, err)
		c.Fix = "mount -o remount,rw " + cgroupRoot
		return c
	}
	var missing []string
	for _, controller := range controllers {
		if !have[controller] {
			missing = append(missing, controller)
		}
	}
	if len(missing) > 0 {
		c.Level = Warn
		c.Detail = fmt.Sprintf("%s, without the controllers %s: pods have no such limits", kind, strings.Join(missing, ", "))
		c.Fix = "enable them in the kernel's command line, for instance cgroup_enable=memory"
		return c
	}
	c.Detail += ", writable, with " + strings.Join(controllers, ", ") + d.limits()
	if d.Memory == 0 {
		c.Level, c.Fix = Warn, "name a limit with --pod-default-memory, or set resources.limits.memory in every template"
	}
	return c
}

// limits says which bounds hold for a pod whose template has none.
func (d *patient) limits() string {
	memory := "without a limit of memory, so that one can take the machine's"
	if d.Memory > 0 {
		memory = fmt.Sprintf("with %.1f GiB of memory", float64(d.Memory)/(1<<30))
	}
	return fmt.Sprintf("; a pod whose template has no limits runs %s and with %d processes at most", memory, d.Pids)
}

// cgroupKind says which version is mounted, and which controllers there are.
func cgroupKind() (kind string, have map[string]bool) {
	have = map[string]bool{}
	if cgroups.IsCgroup2UnifiedMode() {
		data, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
		if err == nil {
			for _, name := range strings.Fields(string(data)) {
				have[name] = true
			}
		}
		return "version 2", have
	}
	for _, controller := range controllers {
		if _, err := os.Stat(filepath.Join(cgroupRoot, controller)); err == nil {
			have[controller] = true
		}
	}
	if cgroups.IsCgroup2HybridMode() {
		return "version 1, with version 2 beside it", have
	}
	return "version 1", have
}
