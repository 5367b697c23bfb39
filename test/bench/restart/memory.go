package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"arl.io/arl/test/harness"
)

// memory is that of a server, in bytes.
type memory struct {
	// heap is what a collection left of it.
	heap int64
	// private is the process's memory without mapped files, which the kernel
	// takes back when it needs them.
	private int64
}

func memoryOf(ctx context.Context, server *harness.Server) (memory, error) {
	client, err := harness.NewClient(server.Kubeconfig())
	if err != nil {
		return memory{}, err
	}
	rest := client.Discovery().RESTClient()
	// A heap profile that asks for it has the server collect first.
	if err := rest.Get().AbsPath("/debug/pprof/heap").Param("gc", "1").Do(ctx).Error(); err != nil {
		return memory{}, fmt.Errorf("have the server collect its heap: %w", err)
	}
	text, err := rest.Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return memory{}, fmt.Errorf("read the server's metrics: %w", err)
	}
	const name = "go_memstats_heap_alloc_bytes "
	var m memory
	for line := range bytes.Lines(text) {
		value, found := strings.CutPrefix(string(line), name)
		if !found {
			continue
		}
		bytes, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			return memory{}, fmt.Errorf("read the server's heap: %w", err)
		}
		m.heap = int64(bytes)
	}
	if m.heap == 0 {
		return memory{}, fmt.Errorf("the server's metrics lack %s", name)
	}
	m.private, err = privateBytes(server.PID())
	return m, err
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
