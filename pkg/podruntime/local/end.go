package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	"arl.io/arl/pkg/podruntime/local/launch"
)

// endProcess kills all processes of a pod, waits for their end, and removes the
// cgroup. It does not matter how far the pod had come.
func (r *Runtime) endProcess(ctx context.Context, p *pod) error {
	// Also if ctx ends: a killed process is waited for, a while.
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), exitTimeout,
		fmt.Errorf("the container's process does not end"))
	defer cancel()
	if err := r.killInit(ctx, p); err != nil {
		return err
	}
	cgroup, err := r.machine.podCgroup(string(p.pod.UID), p.cgroup)
	if err != nil || cgroup == nil {
		return err
	}
	if err := killMembers(cgroup); err != nil {
		return err
	}
	if err := cgroup.Destroy(); err != nil {
		return fmt.Errorf("removing the pod's cgroup: %w", err)
	}
	return nil
}

// killInit ends the container's first process, which takes all others along.
func (r *Runtime) killInit(ctx context.Context, p *pod) error {
	which, err := launch.ReadProcess(r.podPath(p.pod.UID, processName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	process, err := openProcess(which)
	if errors.Is(err, errGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer process.close()
	if err := process.kill(); err != nil {
		return err
	}
	return process.wait(ctx)
}

// killMembers ends what a launch that was cut off has left in a cgroup, before
// there was a first process to kill. Usually that is nothing.
func killMembers(cgroup cgroups.Manager) error {
	if !cgroup.Exists() {
		return nil
	}
	pids, err := cgroup.GetAllPids()
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("listing the pod's processes: %w", err)
	}
	var errs []error
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("ending process %d of the pod: %w", pid, err))
		}
	}
	return errors.Join(errs...)
}
