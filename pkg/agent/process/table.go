package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// entry is one live process, as /proc tells it.
type entry struct {
	pid, parent, group int
	// start is the time of its start since boot, in ticks: with the ID it names a process for good.
	start uint64
}

// readTable returns the live processes by their parent. Those that vanish
// meanwhile are left out.
func readTable() (map[int][]entry, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	table := make(map[int][]entry, 64)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if found, ok := readEntry(pid); ok {
			table[found.parent] = append(table[found.parent], found)
		}
	}
	return table, nil
}

// readEntry returns a process, or false if it is gone or a zombie.
func readEntry(pid int) (entry, bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return entry{}, false
	}
	found, state, err := parseStat(data)
	if err != nil || state == 'Z' || state == 'X' {
		return entry{}, false
	}
	found.pid = pid
	return found, true
}

// errStat says that a line of /proc is not as the kernel writes it.
var errStat = errors.New("not a line of /proc/PID/stat")

// parseStat reads "pid (name) state ppid pgrp ... starttime ...". The name may
// hold anything, so the fields are counted from its last parenthesis.
func parseStat(data []byte) (found entry, state byte, err error) {
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return entry{}, 0, errStat
	}
	// Of proc_pid_stat(5), field 3 is fields[0].
	fields := bytes.Fields(data[end+1:])
	const startTime = 22 - 3
	if len(fields) <= startTime || len(fields[0]) != 1 {
		return entry{}, 0, errStat
	}
	parent, errParent := strconv.Atoi(string(fields[1]))
	group, errGroup := strconv.Atoi(string(fields[2]))
	start, errStart := strconv.ParseUint(string(fields[startTime]), 10, 64)
	if err := errors.Join(errParent, errGroup, errStart); err != nil {
		return entry{}, 0, fmt.Errorf("%w: %w", errStat, err)
	}
	return entry{parent: parent, group: group, start: start}, fields[0][0], nil
}

const (
	// execPatience is how long a process gets to finish an exec that it has begun.
	execPatience = 500 * time.Millisecond
	execLook     = time.Millisecond
)

// markOf returns the mark in the environment that a process was started with, as
// NAME=VALUE, or nil.
func markOf(pid int) []byte {
	for line := range bytes.SplitSeq(environOf(pid), []byte{0}) {
		if bytes.HasPrefix(line, []byte(markVariable+"=")) {
			return line
		}
	}
	return nil
}

// environOf returns the environment that a process was started with. In the
// middle of an exec a process has neither that nor a command line, although
// whoever started it is told already that it runs: it is waited for.
func environOf(pid int) []byte {
	dir := "/proc/" + strconv.Itoa(pid)
	for deadline := time.Now().Add(execPatience); ; time.Sleep(execLook) {
		// The command line is there first, so it is read first.
		command, err := os.ReadFile(dir + "/cmdline")
		if err != nil {
			return nil
		}
		environ, err := os.ReadFile(dir + "/environ")
		if err != nil || len(environ) > 0 || len(command) > 0 || time.Now().After(deadline) {
			return environ
		}
		if _, alive := readEntry(pid); !alive {
			return nil
		}
	}
}
