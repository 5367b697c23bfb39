// Command holder is the first process of a cluster's namespaces. It lives as
// long as somebody holds the other end of its standard input open; when it
// ends, the kernel ends every process of the cluster and drops its mounts and
// its network. So nothing outlives the test, however the test dies.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "holder:", err)
		os.Exit(1)
	}
}

func run() error {
	// Mounts of the cluster must not reach the machine; among themselves, the
	// kubelet's and the containers' are shared, as on any node.
	for _, propagation := range []uintptr{unix.MS_PRIVATE, unix.MS_SHARED} {
		if err := unix.Mount("", "/", "", unix.MS_REC|propagation, ""); err != nil {
			return fmt.Errorf("set how mounts are shared: %w", err)
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	go reap()
	if _, err := fmt.Println("ready"); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// reap waits for processes that lost their parents. It ends with the program,
// which starts none of its own.
func reap() {
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	for range children {
		for {
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); !errors.Is(err, unix.EINTR) && pid <= 0 {
				break
			}
		}
	}
}
