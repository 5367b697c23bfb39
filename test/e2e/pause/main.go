// Command pause keeps the namespaces of a pod: it does nothing until it is told
// to end. The node of the tests runs it in place of the usual pause image, which
// would have to come from a registry.
package main

import (
	"errors"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGCHLD)
	for received := range signals {
		if received != unix.SIGCHLD {
			return
		}
		// A pod may share its process namespace: then orphans come here.
		for {
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); !errors.Is(err, unix.EINTR) && pid <= 0 {
				break
			}
		}
	}
}
