package step

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// needs are what an ordinary step takes of what can be exhausted.
func needs() []attempt {
	repeated := func(times int, take func(int) error) func() error {
		return func() error {
			for i := range times {
				if err := take(i); err != nil {
					return fmt.Errorf("number %d: %w", i+1, err)
				}
			}
			return nil
		}
	}
	few := func(name string, times int) attempt {
		return attempt{name: name, try: repeated(times, resources[name].take), wanted: true}
	}
	return []attempt{
		few("inotify", 4),
		{name: "pipes", try: needPipe, wanted: true},
		few("ptys", 4),
		few("descriptors", 200),
		few("timers", 16),
		few("locked", 1),
		few("in-flight", 8),
		{name: "processes", try: repeated(16, func(int) error { return exec.Command("true").Run() }), wanted: true},
		few("memory", 16),
		few("shm", 4),
		few("disk", 4),
		few("inodes", 100),
		{name: "time", try: needTime, wanted: true},
	}
}

// needPipe wants a pipe of the usual size.
func needPipe() error {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	size, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GETPIPE_SZ, 0)
	if err == nil && size < 64<<10 {
		err = fmt.Errorf("a pipe has %d bytes only", size)
	}
	return err
}

// needTime wants to write and read a file, as a sign that the file system answers.
func needTime() error {
	if err := os.WriteFile("hostile-need", zeros[:4096], 0o600); err != nil {
		return err
	}
	content, err := os.ReadFile("hostile-need")
	if err == nil && len(content) != 4096 {
		err = errors.New("the file has another size")
	}
	return err
}
