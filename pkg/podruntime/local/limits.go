package local

import (
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/api/resource"

	"arl.io/arl/pkg/agent/memory"
	"arl.io/arl/pkg/podruntime"
)

// Reasons of an Advice about the limits of pods.
const (
	// ReasonDefaultMemory: the template has no limit of memory, so the server's default holds.
	ReasonDefaultMemory = "DefaultMemoryLimit"
	// ReasonUnlimited: this server cannot set limits.
	ReasonUnlimited = "Unlimited"
)

// The part of the machine's memory that a pod may use by default, and the least of it: below that,
// little more than the agent and a shell runs.
const (
	defaultMemoryPart  = 4
	leastDefaultMemory = 512 << 20
)

// DefaultMemory returns the limit of memory, in bytes, of pods whose template has none: a quarter of
// the machine's memory. One pod then cannot take the machine; several together can.
func DefaultMemory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return leastDefaultMemory
	}
	part := int64(info.Totalram) * int64(info.Unit) / defaultMemoryPart
	return max(part>>20<<20, leastDefaultMemory)
}

// limitMemory sets the default limit where the template has none.
func (p *plan) limitMemory(bytes int64) {
	if p.cgroup.MemoryBytes == 0 && bytes > 0 && !p.cgroup.Unlimited {
		p.cgroup.MemoryBytes, p.defaultMemory = bytes, true
	}
}

// advice says what the author of a template may not expect of the limits of its pods.
func (p *plan) advice() podruntime.Advice {
	switch {
	case p.cgroup.Unlimited:
		return podruntime.Advice{Reason: ReasonUnlimited, Message: "pods are made from the template, without limits of memory, CPU and processes, " +
			"because the server cannot set any on this machine: arl-apiserver doctor says what is missing"}
	case p.defaultMemory:
		return podruntime.Advice{Reason: ReasonDefaultMemory, Message: fmt.Sprintf("pods are made from the template, with the server's default limit "+
			"of memory, %s, because the template has none: set resources.limits.memory to have another",
			resource.NewQuantity(p.cgroup.MemoryBytes, resource.BinarySI))}
	}
	return podruntime.Advice{}
}

// killSettle is how long the end of an agent may take to be noticed after the kernel killed it.
const killSettle = 5 * time.Second

// killCount is how many processes of a pod the kernel has ended for want of memory, as of a while ago.
// Steps may have been ended at any time before the agent ends; only a count that has grown lately says
// that memory is why the agent ended.
type killCount struct {
	mu sync.Mutex
	// settled is the count before the latest one, which was taken at the given time.
	settled, latest int64
	at              time.Time
}

// note takes a new count. Counts that are taken in close succession count as one.
func (c *killCount) note(kills int64, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.at) < killSettle {
		return
	}
	c.settled, c.latest, c.at = c.latest, kills, now
}

// before returns the count as of killSettle ago, or earlier.
func (c *killCount) before(now time.Time) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.at) < killSettle {
		return c.settled
	}
	return c.latest
}

// memoryKills returns how many processes of a pod the kernel has ended for want of memory.
func (r *Runtime) memoryKills(p *pod) int64 {
	if r.machine.memoryDir == "" {
		return 0
	}
	name := "memory.oom_control"
	if cgroups.IsCgroup2UnifiedMode() {
		name = "memory.events"
	}
	return memory.KillsAt(filepath.Join(r.machine.memoryDir, string(p.pod.UID), name))
}
