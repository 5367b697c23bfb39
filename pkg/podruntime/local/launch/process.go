package launch

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runc/libcontainer/system"
)

// Process identifies the first process of a container, across restarts of the
// server and of the machine, and reuse of its number.
type Process struct {
	PID int `json:"pid"`
	// StartTime is in clock ticks since the machine started, as /proc tells it.
	StartTime uint64 `json:"startTime"`
	// BootID is the kernel's name for the time since the machine started.
	BootID string `json:"bootID"`
}

// Identify returns the Process that has the number pid now.
func Identify(pid int) (Process, error) {
	stat, err := system.Stat(pid)
	if err != nil {
		return Process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return Process{PID: pid, StartTime: stat.StartTime, BootID: strings.TrimSpace(string(boot))}, nil
}

// writeProcess writes a Process such that a reader sees all of it or nothing.
func writeProcess(path string, process Process) error {
	data, err := json.Marshal(process)
	if err != nil {
		return fmt.Errorf("encoding the process: %w", err)
	}
	next := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".next")
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return fmt.Errorf("writing down the process: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("writing down the process: %w", err)
	}
	return nil
}

// ReadProcess returns the Process that a launcher wrote down at path. If there
// is none, the error is fs.ErrNotExist.
func ReadProcess(path string) (Process, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Process{}, fmt.Errorf("reading the process: %w", err)
	}
	var process Process
	if err := json.Unmarshal(data, &process); err != nil {
		return Process{}, fmt.Errorf("reading the process from %s: %w", path, err)
	}
	return process, nil
}
