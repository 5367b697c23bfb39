package launch

// Spec says what to start. It travels to the launcher as JSON.
type Spec struct {
	// ID names the container's cgroup.
	ID string `json:"id"`
	// StatePath is the file in which the launcher writes down the Process, as
	// soon as there is one and before it runs anything of the pod's.
	StatePath string `json:"statePath"`
	// LogPath is the file that the command's output is appended to; empty: the
	// output is dropped.
	LogPath string `json:"logPath,omitempty"`
	// Rootfs says what the container's root is made of.
	Rootfs Rootfs `json:"rootfs"`
	// Mounts are bound or made on top of it.
	Mounts []Mount `json:"mounts,omitempty"`
	// Hidden are absolute paths in the container that are covered over, if they exist.
	Hidden []string `json:"hidden,omitempty"`
	// IDs says which users of the machine those of the container are.
	IDs IDRange `json:"ids"`
	// Owner is the user of the machine that owns the container's user namespace: the kernel charges this
	// user for what it counts by user, whatever users are mapped. Each container has its own, so that
	// none can use up what another needs. Not used if Rootless: then it is the server's user.
	Owner int `json:"owner,omitempty"`
	// Rootless: the server is not root. The launcher's user namespace is the container's too.
	Rootless bool `json:"rootless,omitempty"`

	Hostname string `json:"hostname"`
	// Args is the command of the container's first process; it is given the
	// listening socket as file descriptor ListenFD.
	Args []string `json:"args"`
	Env  []string `json:"env,omitempty"`
	// Dir is the absolute directory the command starts in; created if missing.
	Dir    string `json:"dir"`
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	Groups []int  `json:"groups,omitempty"`
	// Capabilities of processes of user 0, as the kernel names them. They hold in the container's user
	// namespace, not on the machine. Other users have none.
	Capabilities []string `json:"capabilities,omitempty"`
	// Filter is the filter of system calls, an array of the kernel's struct sock_filter. A container
	// without one is not started.
	Filter []byte `json:"filter"`

	Cgroup Cgroup `json:"cgroup"`
}

// Descriptors at which the command finds the listening socket and, if CountsOOM says so, the open
// memory.oom_control of its cgroup.
const (
	ListenFD       = 3
	MemoryEventsFD = filterFD + 1
)

// IDRange maps the users and groups 0 to Size-1 of a container to those from
// Base on of the machine.
type IDRange struct {
	Base int `json:"base"`
	Size int `json:"size"`
}

// Rootfs is a root file system: a directory, with other directories and
// overlays mounted on it.
type Rootfs struct {
	// Base is a directory that is bound as the root. Empty if the first of
	// Overlays is the root.
	Base string `json:"base,omitempty"`
	// Overlays are mounted in order.
	Overlays []Overlay `json:"overlays"`
	// IDMapped: the owners of the lower directories are shifted by the IDRange.
	IDMapped bool `json:"idMapped,omitempty"`
}

// Overlay is one overlay mount.
type Overlay struct {
	// Target is where it is mounted: a path relative to the root that the server made and no image
	// has a say in; "." is the root.
	Target string `json:"target"`
	// Lower is only read. Upper takes the changes; Work is the kernel's and on the file system of
	// Upper. Without Upper and Work the overlay is read-only: it serves to give the files of Lower
	// inodes of the container's own, so that locks, leases and watches on them reach nobody else.
	Lower string `json:"lower"`
	Upper string `json:"upper,omitempty"`
	Work  string `json:"work,omitempty"`
	// ReadOnlyFallback: if the kernel does not put an overlay on Lower, because of what is mounted in
	// it, bind Lower read-only instead. The container then shares the inodes with the machine.
	ReadOnlyFallback bool `json:"readOnlyFallback,omitempty"`
	// Optional: if the overlay cannot be mounted, the container does without. Not with ReadOnlyFallback.
	Optional bool `json:"optional,omitempty"`
}

// Mount is a bind mount, or a file system in memory if Source is empty.
type Mount struct {
	Source   string `json:"source,omitempty"`
	Target   string `json:"target"`
	ReadOnly bool   `json:"readOnly,omitempty"`
	// Shared: Source is a file that others on the machine use too. It is shown through an overlay on
	// its directory, so that the container has an inode of its own. ReadOnly must be set.
	Shared bool `json:"shared,omitempty"`
	// SizeBytes bounds a file system in memory; 0 leaves it to the kernel.
	SizeBytes int64 `json:"sizeBytes,omitempty"`
}

// Cgroup names the container's cgroup and bounds it. Zeros bound nothing.
type Cgroup struct {
	// Parent is the cgroup, from the root of each hierarchy, that holds the container's.
	Parent string `json:"parent"`
	// Unlimited: the server may not make cgroups here, so none is needed and no bound is set.
	Unlimited bool `json:"unlimited,omitempty"`
	// CPUShares is the weight in units of 1024 a core.
	CPUShares uint64 `json:"cpuShares,omitempty"`
	// CPUQuotaMicros is the time per period of 100 ms.
	CPUQuotaMicros int64 `json:"cpuQuotaMicros,omitempty"`
	MemoryBytes    int64 `json:"memoryBytes,omitempty"`
	Pids           int64 `json:"pids,omitempty"`
}

// outcome is what the launcher answers.
type outcome struct {
	Process Process `json:"process"`
	Error   string  `json:"error,omitempty"`
}
