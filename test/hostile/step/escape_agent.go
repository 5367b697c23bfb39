package step

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// againstAgent are attempts at process 1, the agent.
func againstAgent() []attempt {
	return []attempt{
		{name: "take a descriptor of the agent", try: takeDescriptor},
		{name: "trace the agent by PTRACE_SEIZE", try: func() error { return trace(unix.PtraceSeize) }},
		{name: "trace the agent by PTRACE_ATTACH", try: func() error { return trace(unix.PtraceAttach) }},
		{name: "read the agent's memory", try: func() error { return crossMemory(unix.SYS_PROCESS_VM_READV) }},
		{name: "write the agent's memory", try: func() error { return crossMemory(unix.SYS_PROCESS_VM_WRITEV) }},
		{name: "open the agent's memory", try: func() error { return openFile("/proc/1/mem", os.O_RDWR) }},
		{name: "read the agent's environment", try: func() error { _, err := os.ReadFile("/proc/1/environ"); return err }},
		{name: "open the agent's standard output", try: func() error { return openFile("/proc/1/fd/1", os.O_WRONLY) }},
		{name: "compare kernel objects with the agent", try: func() error {
			return refusedCall(unix.SYS_KCMP, 1, uintptr(os.Getpid()), 0, 0, 0)
		}},
		{name: "stop the agent with SIGSTOP", try: stopAgent},
		{name: "protect oneself from the killer of processes", try: func() error {
			return os.WriteFile("/proc/self/oom_score_adj", []byte("-999"), 0)
		}},
		{name: "write the agent's program", try: func() error { return openFile(Program, os.O_WRONLY) }},
		{name: "replace the agent's program", try: func() error { return os.Rename(Program, Program+".old") }},
	}
}

func takeDescriptor() error {
	fd, err := unix.PidfdOpen(1, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for target := range 64 {
		taken, getErr := unix.PidfdGetfd(fd, target, 0)
		if getErr == nil {
			_ = unix.Close(taken)
			return nil
		}
		err = getErr
	}
	return err
}

// trace begins to trace the agent, and lets it go again if that succeeds.
func trace(begin func(pid int) error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := begin(1); err != nil {
		return err
	}
	_ = unix.PtraceInterrupt(1) // for a tracee that was not stopped by the beginning
	if _, err := unix.Wait4(1, nil, unix.WALL, nil); err != nil {
		fmt.Printf("the agent is traced and did not stop: %v\n", err)
	}
	if err := unix.PtraceDetach(1); err != nil {
		fmt.Printf("the agent is traced and stays so: %v\n", err)
	}
	return nil
}

// crossMemory returns nil unless the access itself is refused: the address is nobody's.
func crossMemory(call uintptr) error {
	buffer := make([]byte, 1)
	local := unix.Iovec{Base: &buffer[0], Len: 1}
	remote := unix.RemoteIovec{Base: 1, Len: 1}
	return refusedCall(call, 1, uintptr(unsafe.Pointer(&local)), 1, uintptr(unsafe.Pointer(&remote)), 1)
}

func stopAgent() error {
	if err := unix.Kill(1, unix.SIGSTOP); err != nil {
		return err
	}
	stat, err := os.ReadFile("/proc/1/stat")
	if err != nil {
		return err
	}
	_, state, _ := bytes.Cut(stat, []byte(") "))
	if len(state) == 0 || state[0] != 'T' {
		return errors.New("the agent runs on")
	}
	return nil
}

// openFile returns nil if a file can be opened.
func openFile(name string, flags int) error {
	file, err := os.OpenFile(name, flags, 0)
	if err != nil {
		return err
	}
	return file.Close()
}

// refusedCall makes a system call with arguments that can do no harm, and returns nil unless the
// kernel refuses the call as such.
func refusedCall(call uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	_, _, errno := unix.Syscall6(call, a[0], a[1], a[2], a[3], a[4], a[5])
	switch errno {
	case unix.EPERM, unix.ENOSYS, unix.EACCES:
		return errno
	case 0:
		return nil
	}
	fmt.Printf("the kernel took the call: %v\n", errno)
	return nil
}
