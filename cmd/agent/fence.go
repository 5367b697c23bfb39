package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// fenceOff keeps processes of this process's own user from taking it over: the kernel then lets nobody
// trace it, read or write its memory, take its descriptors or look into its /proc directory, unless
// they have CAP_SYS_PTRACE, which a template has to ask for. What it starts is not fenced off: exec
// undoes it.
//
// This process finds itself in /proc as before, but for files that only their owner may use, such as
// /proc/self/environ: these belong to root.
func fenceOff() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("keeping other processes from tracing the agent: %w", err)
	}
	return nil
}
