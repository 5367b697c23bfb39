// Package doctor says what this machine can do for the local runtime, what is
// missing, and which command mends it. It tries things rather than look up
// versions: it makes a user namespace, mounts an overlay in a namespace of its
// own, makes a cgroup, and leaves nothing behind.
//
// The binary that uses it must call launch.InitProcess first, like every user of
// the runtime. It starts no goroutines. Read doctor.go first; the checks are in
// checks.go, cgroup.go, machine.go and userids.go.
package doctor

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"arl.io/arl/pkg/podruntime/local/idrange"
)

// Level says how a Check went.
type Level string

// Levels of a Check.
const (
	// OK: it is there.
	OK Level = "OK"
	// Warn: it is missing, and pods run without it.
	Warn Level = "WARN"
	// Fail: no pod can run.
	Fail Level = "FAIL"
)

// Check is one thing looked at.
type Check struct {
	Level Level
	// Name is what was looked at, in a word or two.
	Name string
	// Detail is what was found.
	Detail string
	// Fix is a command, or what else to do; empty if there is nothing to mend.
	Fix string
}

// Report is what the doctor found.
type Report struct{ Checks []Check }

// Failed says that no pod can run on this machine as it is.
func (r Report) Failed() bool {
	for _, check := range r.Checks {
		if check.Level == Fail {
			return true
		}
	}
	return false
}

// WriteTo writes the report for people to read.
func (r Report) WriteTo(w io.Writer) (int64, error) {
	var text strings.Builder
	for _, check := range r.Checks {
		fmt.Fprintf(&text, "%-4s  %-16s  %s\n", check.Level, check.Name, check.Detail)
		if check.Fix != "" {
			fmt.Fprintf(&text, "%24s  mend: %s\n", "", check.Fix)
		}
	}
	n, err := io.WriteString(w, text.String())
	return int64(n), err
}

// String returns what WriteTo writes.
func (r Report) String() string {
	var text strings.Builder
	_, _ = r.WriteTo(&text) // a Builder does not fail
	return text.String()
}

// Config says what to look at.
type Config struct {
	// Dir is where the runtime would keep its state. It need not exist yet.
	Dir string
	// ImagesDir is where it would keep images.
	ImagesDir string
	// TrashDir is where it would keep what it is removing.
	TrashDir string
	// StorageLimit bounds the disk space of pods whose template does not, in bytes; 0 means no bound.
	StorageLimit int64
	// MinFree is the free space below which the database would refuse writes, in bytes.
	MinFree uint64
	// AgentPath is the agent's binary.
	AgentPath string
	// UserIDs are those that pods would get.
	UserIDs idrange.Range
	// Memory and Pids bound a pod whose template has no limits; a Memory of 0 is no bound.
	Memory, Pids int64
}

// Run looks at this machine.
func Run(ctx context.Context, config Config) Report {
	d := &patient{Config: config, rootless: os.Geteuid() != 0}
	d.existing = existingParent(config.Dir)
	var report Report
	for _, check := range []func(context.Context) Check{
		d.user, d.kernel, d.userNamespaces, d.overlay, d.idMap, d.userIDs, d.openFiles, d.processes, d.cgroups, d.seccomp, d.stage, d.disk, d.podStorage, d.images, d.trash, d.agent,
	} {
		report.Checks = append(report.Checks, check(ctx))
	}
	return report
}

// patient is what is looked at.
type patient struct {
	Config
	rootless bool
	// existing is Dir, or the nearest folder above it that exists.
	existing string
}

// existingParent returns the nearest folder at or above dir that exists.
func existingParent(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "/"
	}
	for ; abs != "/"; abs = filepath.Dir(abs) {
		if info, err := os.Stat(abs); err == nil && info.IsDir() {
			return abs
		}
	}
	return abs
}
