// Package memory reads from the container's cgroup how often the kernel ended a process of the
// container because memory ran out, and what the container's limit is. It knows both versions of
// cgroups. It starts no goroutines.
package memory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// Where a container finds its own cgroup.
const (
	eventsV2 = "/sys/fs/cgroup/memory.events"
	limitV2  = "/sys/fs/cgroup/memory.max"
	eventsV1 = "/sys/fs/cgroup/memory/memory.oom_control"
	limitV1  = "/sys/fs/cgroup/memory/memory.limit_in_bytes"
)

// unlimited is above any limit that says something: version 1 has no word for "none", but a number
// near the largest.
const unlimited = 1 << 60

// maxFile bounds what is read of a file of the kernel's.
const maxFile = 4 << 10

// Events is the container's cgroup. Nil stands for one that cannot be read. It is safe for concurrent
// use.
type Events struct {
	// file holds the counters; reading from its beginning makes the kernel write them anew.
	file  *os.File
	limit int64
}

// Open returns the cgroup of this container, or nil if it cannot be read. Close frees it.
func Open() *Events {
	for _, paths := range []struct{ events, limit string }{{eventsV2, limitV2}, {eventsV1, limitV1}} {
		file, err := os.Open(paths.events)
		if err != nil {
			continue
		}
		return &Events{file: file, limit: readLimit(paths.limit)}
	}
	return nil
}

// Of returns the cgroup whose counters are in file, an open memory.events or memory.oom_control, and
// whose limit is as given, in bytes; 0 stands for none. The file is the Events' from here on.
func Of(file *os.File, limit int64) *Events { return &Events{file: file, limit: limit} }

// KillsAt returns what Kills does for the counters in a file.
func KillsAt(path string) int64 {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	return killsIn(content)
}

// Close frees what Events holds.
func (e *Events) Close() error {
	if e == nil {
		return nil
	}
	return e.file.Close()
}

// Limit returns the container's limit in bytes, or 0 if it has none of its own.
func (e *Events) Limit() int64 {
	if e == nil {
		return 0
	}
	return e.limit
}

// Kills returns how many processes of the container the kernel has ended because memory ran out, or 0
// if that cannot be read.
func (e *Events) Kills() int64 {
	if e == nil {
		return 0
	}
	content := make([]byte, maxFile)
	n, err := e.file.ReadAt(content, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0
	}
	return killsIn(content[:n])
}

// killsIn reads the counter, which has the same name in both versions.
func killsIn(content []byte) int64 {
	for line := range bytes.Lines(content) {
		value, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("oom_kill "))
		if !ok {
			continue
		}
		if kills, err := strconv.ParseInt(string(value), 10, 64); err == nil {
			return kills
		}
	}
	return 0
}

// readLimit returns the limit in a file, or 0.
func readLimit(path string) int64 {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	limit, err := strconv.ParseInt(string(bytes.TrimSpace(content)), 10, 64)
	if err != nil || limit >= unlimited {
		return 0
	}
	return limit
}

// Explain says that memory ran out, and what to do about it.
func (e *Events) Explain() string {
	if limit := e.Limit(); limit > 0 {
		return fmt.Sprintf("out of memory: the kernel ended a process because the pod reached its limit of %s: "+
			"use less, or raise resources.limits.memory in the pool's template", format(limit))
	}
	return "out of memory: the kernel ended a process because the machine, or a group of pods, had no memory left: " +
		"use less, or set resources.limits.memory in the pool's template to what a step needs"
}

// format writes a number of bytes as quantities of Kubernetes are written.
func format(n int64) string {
	for _, unit := range []struct {
		name string
		size int64
	}{{"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10}} {
		if n >= unit.size && n%unit.size == 0 {
			return strconv.FormatInt(n/unit.size, 10) + unit.name
		}
	}
	return strconv.FormatInt(n, 10)
}
