package launch

import (
	"os"

	"github.com/opencontainers/runc/libcontainer"
	// The constructor in nsenter makes the namespaces of a container's init
	// before the Go runtime has started threads.
	_ "github.com/opencontainers/runc/libcontainer/nsenter"
	"golang.org/x/sys/unix"
)

// initTypeEnv is set by libcontainer for its init.
const initTypeEnv = "_LIBCONTAINER_INITTYPE"

// InitProcess must be the first call in main of every binary that calls Start.
// It returns at once in an ordinary process and never in one that this package
// executed again.
func InitProcess() {
	switch {
	case os.Getenv(initTypeEnv) != "":
		unix.CloseOnExec(filterFD)
		go installFilter()
		libcontainer.Init()
	case os.Args[0] == launcherName:
		end(launcherMain())
	case os.Args[0] == probeName:
		end(probeMain())
	}
}

// end ends the process at once. There is nothing to flush, and what os.Exit does
// besides takes a second in a binary with the race detector.
func end(exitCode int) { unix.Exit(exitCode) }
