package launch

import (
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/runc/libcontainer"
	// The constructor in nsenter makes the namespaces of a container's init
	// before the Go runtime has started threads.
	_ "github.com/opencontainers/runc/libcontainer/nsenter"
	"golang.org/x/sys/unix"

	"arl.io/arl/pkg/podruntime/local/seccomp"
)

// initTypeEnv is set by libcontainer for its init.
const initTypeEnv = "_LIBCONTAINER_INITTYPE"

// filterFD is where a container's init finds the launcher's end of the talk
// about the seccomp filter; it comes right after ListenFD.
const filterFD = ListenFD + 1

// Answers of a container's init to filterNow.
const (
	filterNow  = "f"
	filterDone = "d"
)

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
	case os.Args[0] == holderName:
		_, _ = io.Copy(io.Discard, os.Stdin)
		end(0)
	case os.Args[0] == probeName:
		end(probeMain())
	}
}

// end ends the process at once. There is nothing to flush, and what os.Exit does
// besides takes a second in a binary with the race detector.
func end(exitCode int) { unix.Exit(exitCode) }

// installFilter waits in a container's init until the launcher says that all
// that needs privileges is done, and then puts the filter on all threads. The
// init itself waits meanwhile for the word to become the agent.
//
// Libcontainer would do this with libseccomp, which a machine that builds this
// may not have.
func installFilter() {
	talk := os.NewFile(filterFD, "filter")
	defer talk.Close()
	var word [1]byte
	if _, err := io.ReadFull(talk, word[:]); err != nil || string(word[:]) != filterNow {
		// The launcher is gone or gave up. Nobody may know of this process yet,
		// so it must not wait for a word that never comes.
		end(1)
	}
	answer := filterDone
	if err := seccomp.Install(); err != nil {
		answer = err.Error()
	}
	_, _ = io.WriteString(talk, answer)
}

// applyFilter is the launcher's side of installFilter.
func applyFilter(talk *os.File) error {
	if _, err := io.WriteString(talk, filterNow); err != nil {
		return fmt.Errorf("asking for the seccomp filter: %w", err)
	}
	answer, err := io.ReadAll(io.LimitReader(talk, maxStderrBytes))
	if err != nil {
		return fmt.Errorf("waiting for the seccomp filter: %w", err)
	}
	if string(answer) != filterDone {
		return fmt.Errorf("seccomp filter: %q", answer)
	}
	return nil
}

// filterTalk returns the two ends of the talk about the filter.
func filterTalk() (launcher, init *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "filter"), os.NewFile(uintptr(fds[1]), "filter"), nil
}
