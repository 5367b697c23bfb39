package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Exit codes of a command that could not be started, as shells have them.
const (
	// CodeNotExecutable: there is such a file, and it cannot be run.
	CodeNotExecutable = 126
	// CodeNotFound: there is no such program.
	CodeNotFound = 127
)

// DefaultPath is where programs are looked for if PATH is not set.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// StartError says why a command could not be started.
type StartError struct {
	// ExitCode is CodeNotFound, CodeNotExecutable, or 0 if neither fits.
	ExitCode int32
	// Invalid says that the command can never be started as it stands.
	Invalid bool
	Message string
}

// Error returns the message.
func (e *StartError) Error() string { return e.Message }

// lookUp returns the path of the program that name means in dir and env. The
// search is that of a shell: a name with a slash is a path, any other is looked
// for in PATH.
func lookUp(name, dir string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		file := name
		if !filepath.IsAbs(file) {
			file = filepath.Join(dir, file)
		}
		if err := runnable(file); err != nil {
			return "", startError(name, err)
		}
		return file, nil
	}
	search := DefaultPath
	for _, variable := range env {
		if value, ok := strings.CutPrefix(variable, "PATH="); ok {
			search = value
		}
	}
	// A file that cannot be run explains more than that there was none.
	reason := error(unix.ENOENT)
	for _, place := range filepath.SplitList(search) {
		if !filepath.IsAbs(place) {
			place = filepath.Join(dir, place)
		}
		file := filepath.Join(place, name)
		err := runnable(file)
		if err == nil {
			return file, nil
		}
		if errors.Is(err, unix.EACCES) {
			reason = err
		}
	}
	if errors.Is(reason, unix.ENOENT) {
		return "", &StartError{ExitCode: CodeNotFound, Message: fmt.Sprintf("%s: command not found in PATH (%s)", name, search)}
	}
	return "", startError(name, reason)
}

// runnable returns nil if file may be executed.
func runnable(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return unix.EISDIR
	}
	return unix.Faccessat(unix.AT_FDCWD, file, unix.X_OK, unix.AT_EACCESS)
}

// startError words the error of a lookup or of a start.
func startError(name string, err error) *StartError {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return &StartError{ExitCode: CodeNotFound, Message: name + ": no such file"}
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return &StartError{ExitCode: CodeNotExecutable, Message: name + ": permission denied; is it executable?"}
	case errors.Is(err, unix.EISDIR):
		return &StartError{ExitCode: CodeNotExecutable, Message: name + ": is a directory"}
	case errors.Is(err, unix.ENOEXEC):
		return &StartError{ExitCode: CodeNotExecutable, Message: name + ": exec format error; a script needs a #! line, a program the machine's architecture"}
	case errors.Is(err, unix.ETXTBSY):
		return &StartError{ExitCode: CodeNotExecutable, Message: name + ": somebody is writing to the file"}
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return &StartError{Message: name + ": cannot be started: the agent has no file descriptor left; " +
			"end processes that earlier steps left running, or redirect their output to files"}
	default:
		return &StartError{Message: fmt.Sprintf("%s: cannot be started: %v", name, err)}
	}
}

// startFailure words the error of starting a file that was found.
func startFailure(args, env []string, err error) *StartError {
	switch {
	case errors.Is(err, unix.ENOENT):
		return &StartError{ExitCode: CodeNotFound, Message: args[0] + ": its interpreter or dynamic loader is not in the image"}
	case errors.Is(err, unix.E2BIG):
		return &StartError{Invalid: true, Message: args[0] + ": " + tooBig(args, env)}
	}
	return startError(args[0], err)
}

func isTextBusy(err error) bool { return errors.Is(err, syscall.ETXTBSY) }
