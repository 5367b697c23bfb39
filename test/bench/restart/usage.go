package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"arl.io/arl/test/harness"
)

// usage is what a server has used when it is ready.
type usage struct {
	// heap is what a collection left of it, in bytes.
	heap int64
	// private is the process's memory in bytes, without mapped files, which the
	// kernel takes back when it needs them.
	private int64
	// cpu is the processor time of the start. Unlike the time that the start
	// takes, it hardly depends on what else a machine does.
	cpu time.Duration
}

// usageOf must be called as soon as the server is ready: asking costs
// processor time, too.
func usageOf(ctx context.Context, server *harness.Server) (u usage, err error) {
	if u.cpu, err = cpuTime(server.PID()); err != nil {
		return usage{}, err
	}
	client, err := harness.NewClient(server.Kubeconfig())
	if err != nil {
		return usage{}, err
	}
	rest := client.Discovery().RESTClient()
	// A heap profile that asks for it has the server collect first.
	if err := rest.Get().AbsPath("/debug/pprof/heap").Param("gc", "1").Do(ctx).Error(); err != nil {
		return usage{}, fmt.Errorf("have the server collect its heap: %w", err)
	}
	text, err := rest.Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return usage{}, fmt.Errorf("read the server's metrics: %w", err)
	}
	const name = "go_memstats_heap_alloc_bytes "
	for line := range bytes.Lines(text) {
		value, found := strings.CutPrefix(string(line), name)
		if !found {
			continue
		}
		bytes, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			return usage{}, fmt.Errorf("read the server's heap: %w", err)
		}
		u.heap = int64(bytes)
	}
	if u.heap == 0 {
		return usage{}, fmt.Errorf("the server's metrics lack %s", name)
	}
	u.private, err = privateBytes(server.PID())
	return u, err
}

// clockTick is the unit of times in /proc, which Linux fixes for all programs.
const clockTick = time.Second / 100

func cpuTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read the server's processor time: %w", err)
	}
	// The name, in parentheses, may hold anything; user and system time are
	// the 12th and 13th field after it.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	var used time.Duration
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the server's processor time: %w", err)
		}
		used += time.Duration(ticks) * clockTick
	}
	return used, nil
}

func privateBytes(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read the server's memory: %w", err)
	}
	for line := range bytes.Lines(status) {
		if rest, found := strings.CutPrefix(string(line), "RssAnon:"); found {
			kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read the server's memory: %w", err)
			}
			return kilobytes << 10, nil
		}
	}
	return 0, fmt.Errorf("read the server's memory: no RssAnon in %q", status)
}
