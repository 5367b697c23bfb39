// Package intruder tries everything by which one process can take over another one that it may see:
// tracing it, reading and writing its memory, taking its descriptors, stopping and ending it. It is
// for programs that tests run in pods. It starts no goroutines.
package intruder

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// attempt is one way to take over a process. It returns nil if the way is open.
type attempt struct {
	name string
	try  func(pid int) error
}

var attempts = []attempt{
	{"ptrace seize", func(pid int) error { return traced(pid, unix.PtraceSeize) }},
	{"ptrace attach", func(pid int) error { return traced(pid, unix.PtraceAttach) }},
	{"process_vm_readv", readMemory},
	{"process_vm_writev", writeMemory},
	{"pidfd_getfd", takeDescriptor},
	{"/proc/PID/mem", func(pid int) error { return opened(pid, "mem", os.O_RDWR) }},
	{"/proc/PID/environ", func(pid int) error { return opened(pid, "environ", os.O_RDONLY) }},
	{"/proc/PID/maps", func(pid int) error { return opened(pid, "maps", os.O_RDONLY) }},
	{"/proc/PID/fd", followDescriptor},
	{"/proc/PID/root", func(pid int) error { return opened(pid, "root/", os.O_RDONLY) }},
	{"/proc/PID/cwd", func(pid int) error { return opened(pid, "cwd/", os.O_RDONLY) }},
	{"/proc/PID/exe", func(pid int) error { return opened(pid, "exe", os.O_RDONLY) }},
}

// TakeOver returns the names of the ways by which this process could take over the process pid.
func TakeOver(pid int) []string {
	// A tracer is a thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var open []string
	for _, a := range attempts {
		if a.try(pid) == nil {
			open = append(open, a.name)
		}
	}
	return open
}

// Stop sends SIGSTOP and says whether the process stops, which it is given some time for. A process
// that stops is continued.
func Stop(pid int) (stops bool, err error) {
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		return false, fmt.Errorf("stop process %d: %w", pid, err)
	}
	defer func() { err = errors.Join(err, unix.Kill(pid, unix.SIGCONT)) }()
	// The kernel stops a process on its way out of a call, so there is nothing to wait for.
	for begun := time.Now(); time.Since(begun) < 300*time.Millisecond; time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile(path(pid, "stat"))
		if err != nil {
			return false, err
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if strings.HasPrefix(rest, "T") {
			return true, nil
		}
	}
	return false, nil
}

func path(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

// traced traces a process and lets go of it.
func traced(pid int, attach func(int) error) error {
	if err := attach(pid); err != nil {
		return err
	}
	// The detach wants a tracee that is stopped.
	_ = unix.PtraceInterrupt(pid)
	_, _ = unix.Wait4(pid, nil, unix.WALL, nil)
	return unix.PtraceDetach(pid)
}

// permitted is nil if the kernel looked at the arguments of a call, which are wrong, rather than
// refuse it.
func permitted(err error) error {
	if errors.Is(err, unix.EFAULT) || errors.Is(err, unix.EBADF) {
		return nil
	}
	return err
}

// nowhere is an address that no process has anything at.
var nowhere = []unix.RemoteIovec{{Base: 1, Len: 1}}

func readMemory(pid int) error {
	buffer := make([]byte, 1)
	_, err := unix.ProcessVMReadv(pid, local(buffer), nowhere, 0)
	return permitted(err)
}

func writeMemory(pid int) error {
	buffer := make([]byte, 1)
	_, err := unix.ProcessVMWritev(pid, local(buffer), nowhere, 0)
	return permitted(err)
}

func local(buffer []byte) []unix.Iovec {
	vector := []unix.Iovec{{Base: &buffer[0]}}
	vector[0].SetLen(len(buffer))
	return vector
}

func takeDescriptor(pid int) error {
	of, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(of)
	taken, err := unix.PidfdGetfd(of, 0, 0)
	if err == nil {
		return unix.Close(taken)
	}
	return permitted(err)
}

func opened(pid int, name string, flags int) error {
	file, err := os.OpenFile(path(pid, name), flags, 0)
	if err != nil {
		return err
	}
	return file.Close()
}

// followDescriptor finds out what is behind a descriptor. The numbers alone are no secret to root.
func followDescriptor(pid int) error {
	_, err := os.Readlink(path(pid, "fd/0"))
	return err
}
