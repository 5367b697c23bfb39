package doctor

import (
	"context"
	"fmt"
	"strconv"

	"arl.io/arl/pkg/podruntime/local/launch"
)

// minOpenFiles is more than the pods of a machine can have in the memory that they usually get. An open
// file takes about 200 bytes of its pod's memory.
const minOpenFiles = 16 << 20

// openFiles says whether a pod could open all the files that the machine can have open.
func (d *patient) openFiles(context.Context) Check {
	c := Check{Level: OK, Name: "open files"}
	text := sysctl("fs.file-max")
	most, err := strconv.ParseUint(text, 10, 64)
	switch {
	case err != nil:
		return Check{Level: Warn, Name: c.Name, Detail: "fs.file-max cannot be read", Fix: "mount -t proc proc /proc"}
	case most < minOpenFiles:
		c.Level = Warn
		c.Detail = fmt.Sprintf("the machine can have %d open: a pod with %d MiB of memory can take them all", most, most*200>>20)
		c.Fix = "sysctl -w fs.file-max=9223372036854775807, or give pods less memory"
	default:
		c.Detail = "more than pods can open in their memory"
	}
	return c
}

// minPods is how many pods should be able to have all processes that they may.
const minPods = 16

// podProcesses is the default of local.Config.PidsLimit.
const podProcesses = 4096

// processes says for how many pods the machine has processes.
func (d *patient) processes(context.Context) Check {
	c := Check{Level: OK, Name: "processes"}
	all := launch.AllPodsProcesses()
	c.Detail = fmt.Sprintf("%d for all pods together, which %d pods with %d each can take", all, all/podProcesses, podProcesses)
	if all/podProcesses < minPods {
		c.Level = Warn
		c.Fix = "sysctl -w kernel.pid_max=4194304 kernel.threads-max=4194304"
	}
	return c
}
