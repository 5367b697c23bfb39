package step

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// holdCommand is what exhaust starts and leaves running.
const holdCommand = "hold"

// resources are what can be exhausted, by name: each function takes one more and returns an error
// when there is no more. Each is called at most as often as limit says.
var resources = map[string]struct {
	limit int
	take  func(i int) error
}{
	"inotify": {100_000, func(int) error { _, err := unix.InotifyInit1(unix.IN_CLOEXEC); return err }},
	"pipes":   {10_000, takePipe},
	"ptys": {10_000, func(int) error {
		_, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		return err
	}},
	"descriptors": {2_000_000, func(int) error { _, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0); return err }},
	"timers":      {1_000_000, takeTimer},
	"locked":      {100_000, takeLocked},
	"in-flight":   {1_000_000, takeInFlight},
	"processes":   {8_000, func(int) error { return exec.Command("sleep", "1000").Start() }},
	"memory":      {16_000, takeMemory},
	"shm":         {16_000, func(i int) error { return appendMegabyte("/dev/shm/hostile") }},
	"disk":        {4_000, func(i int) error { return appendMegabyte("hostile-disk") }},
	"inodes":      {150_000, func(i int) error { return writeEmpty(fmt.Sprintf("hostile-%d", i)) }},
	"deep":        {30_000, takeDepth},
}

// exhaust takes all there is of a resource and leaves it held by a process of its own.
func exhaust(name string) error {
	child := exec.Command("/proc/self/exe", Subcommand, holdCommand, name)
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := child.StdoutPipe()
	if err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return err
	}
	said, err := bufio.NewReader(out).ReadString('\n')
	fmt.Printf("%s: %s\n", name, strings.TrimSpace(said))
	if err != nil {
		// The kernel has ended it, which is as good.
		return child.Wait()
	}
	return nil
}

// hold takes all there is, says so, and stays.
func hold(name string) error {
	resource, known := resources[name]
	if !known {
		return fmt.Errorf("there is no resource %q", name)
	}
	signal.Ignore(unix.SIGPIPE, unix.SIGHUP)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	taken, err := 0, error(nil)
	for taken < resource.limit && err == nil {
		if err = resource.take(taken); err == nil {
			taken++
		}
	}
	fmt.Printf("full with %d: %v\n", taken, err)
	// Nothing is freed while this process is there.
	for {
		if err := unix.Pause(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Resources returns the names of all resources that can be exhausted, sorted.
func Resources() []string { return slices.Sorted(maps.Keys(resources)) }
