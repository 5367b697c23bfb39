package step

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"
)

// wear burns what there is for a time, over and over: processor time, processes, memory, disk,
// descriptors, and the server's by output. Limits of the pod end parts of it, which begin again.
func wear(duration string) error {
	length, err := time.ParseDuration(duration)
	if err != nil {
		return err
	}
	end := time.Now().Add(length)
	var group sync.WaitGroup
	for _, name := range []string{"inotify", "pipes", "ptys", "in-flight", "descriptors", "memory", "shm", "disk", "inodes", "processes"} {
		group.Go(func() {
			for time.Now().Before(end) {
				wearOut(name, end)
			}
		})
	}
	group.Go(func() {
		for time.Now().Before(end) {
			escapes := exec.Command("/proc/self/exe", Subcommand, "escape")
			_ = escapes.Run() // what it finds is the business of another test
		}
	})
	chunk := bytes.Repeat([]byte("output without end "), 1000)
	for time.Now().Before(end) {
		fmt.Fprintln(os.Stdout, string(chunk))
	}
	group.Wait()
	return nil
}

// wearOut exhausts one resource and lets it go again.
func wearOut(name string, end time.Time) {
	dir, err := os.MkdirTemp("/tmp", "wear-")
	if err != nil {
		time.Sleep(100 * time.Millisecond)
		return
	}
	defer os.RemoveAll(dir)
	holder := exec.Command("/proc/self/exe", Subcommand, holdCommand, name)
	holder.Dir = dir
	if holder.Start() != nil {
		time.Sleep(100 * time.Millisecond)
		return
	}
	timer := time.AfterFunc(min(time.Until(end), 3*time.Second), func() { _ = holder.Process.Kill() })
	defer timer.Stop()
	_ = holder.Wait() // it is killed, by the timer or by the kernel
}
