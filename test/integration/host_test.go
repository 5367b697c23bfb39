package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// markVariable is set in the environment of steps whose processes a test wants
// to find again on the machine.
const markVariable = "ARL_TEST_MARK"

// marked returns the processes of this machine that carry the mark.
func marked(t *testing.T, mark string) []int {
	t.Helper()
	want := []byte(markVariable + "=" + mark)
	var found []int
	for _, pid := range processes(t) {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil {
			continue // it has ended, or is somebody else's
		}
		if slices.ContainsFunc(bytes.Split(environ, []byte{0}), func(v []byte) bool { return bytes.Equal(v, want) }) {
			found = append(found, pid)
		}
	}
	return found
}

// processes returns all processes of this machine that can be seen.
func processes(t *testing.T) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// initOf returns the first process of the PID namespace that has this name,
// such as "pid:[4026532000]".
func initOf(t *testing.T, namespace string) int {
	t.Helper()
	for _, pid := range processes(t) {
		if link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)); err != nil || link != namespace {
			continue
		}
		ids := strings.Fields(procField(t, pid, "NSpid"))
		if len(ids) > 1 && ids[len(ids)-1] == "1" {
			return pid
		}
	}
	t.Fatalf("no process is the first of %s", namespace)
	return 0
}

// podInit returns the first process, as this machine sees it, of the pod of a sandbox.
func (n *tenant) podInit(sandbox string) int {
	n.T.Helper()
	return initOf(n.T, strings.TrimSpace(n.Output(sandbox, "readlink /proc/self/ns/pid")))
}

// procField returns a field of /proc/PID/status, or "" if the process has ended.
func procField(t *testing.T, pid int, name string) string {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("/proc/%d/status has no %s", pid, name)
	return ""
}

// procBytes returns a field of /proc/PID/status that is a size.
func procBytes(t *testing.T, pid int, name string) int64 {
	t.Helper()
	number, ok := strings.CutSuffix(procField(t, pid, name), " kB")
	kib, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil {
		t.Fatalf("%s of process %d is no size: %q", name, pid, number)
	}
	return kib << 10
}

// resetPeak makes VmHWM of a process start again from what it uses now.
func resetPeak(t *testing.T, pid int) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}

// insidePod is a path of a pod's file system, as this machine sees it.
func insidePod(init int, path string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", init), path)
}
