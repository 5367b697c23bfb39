package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// clockTick is the unit of times in /proc, which Linux fixes for all programs.
const clockTick = time.Second / 100

// cpu returns the processor time that the client and the server of a storage
// have used so far. Unlike rates, it hardly depends on what else a machine does.
func (o *opened) cpu() (time.Duration, error) {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	used := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	if o.server == 0 {
		return used, nil
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", o.server))
	if err != nil {
		return 0, fmt.Errorf("read processor time of the server: %w", err)
	}
	// The name, in parentheses, may hold anything; user and system time are
	// the 12th and 13th field after it.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read processor time of the server: %w", err)
		}
		used += time.Duration(ticks) * clockTick
	}
	return used, nil
}

// measured runs what makes a sample and adds how long it took and what
// processor time it used.
func (o *opened) measured(do func() (sample, error)) (s sample, err error) {
	before, err := o.cpu()
	if err != nil {
		return sample{}, err
	}
	start := time.Now()
	if s, err = do(); err != nil {
		return sample{}, err
	}
	s.elapsed = time.Since(start)
	after, err := o.cpu()
	s.cpu = after - before
	return s, err
}
