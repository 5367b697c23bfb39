package harness

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Holdings are what a server and its pods hold of the machine, as seen while they were running. Other
// servers on the machine do not matter.
type Holdings struct {
	dir string
	// PIDs are processes, by number and start, so that a later process of the
	// same number is not taken for one of them.
	PIDs map[int]uint64
	// Nets are network namespaces, such as "net:[4026532000]".
	Nets map[string]bool
	// Cgroups are names of directories that hold cgroups of pods, or are one.
	Cgroups map[string]bool
	// last is the latest start, in ticks since boot: what started later is none of these.
	last uint64
}

// HoldingsOf finds what there is of a server with this directory.
func HoldingsOf(dir string) (Holdings, error) {
	h := Holdings{dir: dir, PIDs: map[int]uint64{}, Nets: map[string]bool{}, Cgroups: map[string]bool{}}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return h, err
	}
	pids, err := processes()
	if err != nil {
		return h, err
	}
	for _, pid := range pids {
		if !belongs(pid, dir) {
			continue
		}
		start, ok := startOf(pid)
		if !ok {
			continue
		}
		h.PIDs[pid] = start
		h.last = max(h.last, start)
		if net, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err == nil && net != own {
			h.Nets[net] = true
			h.noteCgroups(pid)
		}
	}
	return h, nil
}

// belongs says whether a process was started for a directory, or has its root
// file system from there.
func belongs(pid int, dir string) bool {
	for _, file := range []string{"cmdline", "mountinfo"} {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		if err == nil && bytes.Contains(content, []byte(dir)) {
			return true
		}
	}
	return false
}

// startOf returns when a process was started. A zombie is no process: who must
// bury it is the machine's first process.
func startOf(pid int) (ticks uint64, ok bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	// The name, in parentheses, may hold anything; the state is the field after it.
	_, rest, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')'):]), " ")
	fields := strings.Fields(rest)
	const state, started = 0, 19
	if len(fields) <= started || fields[state] == "Z" || fields[state] == "X" {
		return 0, false
	}
	ticks, err = strconv.ParseUint(fields[started], 10, 64)
	return ticks, err == nil
}

// noteCgroups notes the cgroups of a pod's process that were made for it.
func (h *Holdings) noteCgroups(pid int) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return
	}
	for line := range strings.Lines(string(content)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 {
			continue
		}
		for _, name := range strings.Split(parts[2], "/") {
			if strings.HasPrefix(name, "arl-") {
				h.Cgroups[name] = true
			}
		}
	}
}

// Left returns an error that names what is still there.
func (h *Holdings) Left() error {
	var errs []error
	now, err := HoldingsOf(h.dir)
	if err != nil {
		return err
	}
	pids, err := processes()
	if err != nil {
		return err
	}
	for pid := range now.PIDs {
		errs = append(errs, fmt.Errorf("process %d: %s", pid, CommandOf(pid)))
	}
	for pid, start := range h.PIDs {
		if got, ok := startOf(pid); ok && got == start {
			errs = append(errs, fmt.Errorf("process %d from before: %s", pid, CommandOf(pid)))
		}
	}
	for _, pid := range pids {
		net, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
		// The kernel may give the number of a namespace that has gone to a new one.
		if start, ok := startOf(pid); err == nil && ok && h.Nets[net] && start <= h.last {
			errs = append(errs, fmt.Errorf("process %d in the network of a pod: %s", pid, CommandOf(pid)))
		}
	}
	errs = append(errs, h.mountsLeft(), h.cgroupsLeft(), PodsLeft(h.dir))
	return errors.Join(errs...)
}

// PodsLeft returns an error that names the pods of a server's directory.
func PodsLeft(dir string) error {
	pods, err := os.ReadDir(filepath.Join(dir, "runtime", "pods"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, pod := range pods {
		errs = append(errs, fmt.Errorf("files of pod %s", pod.Name()))
	}
	return errors.Join(errs...)
}

// CommandOf returns the command of a process, or why it is not known.
func CommandOf(pid int) string {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return err.Error()
	}
	return string(bytes.ReplaceAll(content, []byte{0}, []byte{' '}))
}

// mountsLeft looks for mounts of the directory, and of namespaces kept by a mount.
func (h *Holdings) mountsLeft() error {
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(content)) {
		named := func(net string) bool { return strings.Contains(line, net) }
		if strings.Contains(line, h.dir) || slices.ContainsFunc(slices.Collect(maps.Keys(h.Nets)), named) {
			return fmt.Errorf("mount %s", strings.TrimSpace(line))
		}
	}
	return nil
}

func (h *Holdings) cgroupsLeft() error {
	var errs []error
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // it went while this looked
		case err != nil:
			return err
		case entry.IsDir() && h.Cgroups[entry.Name()]:
			errs = append(errs, fmt.Errorf("cgroup %s", path))
		}
		return nil
	})
	return errors.Join(append(errs, err)...)
}

// processes are all of the machine.
func processes() (pids []int, err error) {
	entries, err := os.ReadDir("/proc")
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, err
}
