package wire

// Flags of "arl-agent serve" by which whoever starts the agent passes the container's cgroup, where the
// agent does not find it beneath /sys/fs/cgroup: the descriptor of an open memory.oom_control or
// memory.events, and the limit in bytes.
const (
	MemoryEventsFlag = "memory-events-fd"
	MemoryLimitFlag  = "memory-limit"
)
