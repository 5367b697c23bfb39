package launch

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
)

// countersName has the number of processes that the kernel ended for their use of memory.
const countersName = "memory.oom_control"

// CountsOOM says whether the command finds the counters of its cgroup at MemoryEventsFD. With version 2
// of cgroups it finds them in its own file system.
func CountsOOM(limits Cgroup) bool { return !limits.Unlimited && !cgroups.IsCgroup2UnifiedMode() }

// openCounters makes the container's cgroup of memory, which the container joins when it starts, and
// opens its counters. Without such a cgroup the file is empty.
func openCounters(spec *Spec) (*os.File, error) {
	cgroup, err := manager.New(CgroupConfig(spec.ID, spec.Cgroup))
	if err != nil {
		return nil, fmt.Errorf("the container's cgroup: %w", err)
	}
	dir := cgroup.Path("memory")
	if dir == "" {
		return os.Open(os.DevNull)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("the container's cgroup: %w", err)
	}
	counters, err := os.Open(filepath.Join(dir, countersName))
	if err != nil {
		return nil, fmt.Errorf("the container's cgroup: %w", err)
	}
	return counters, nil
}
