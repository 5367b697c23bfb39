//go:build linux

package robustness

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"arl.io/arl/test/robustness/fault"
)

// run is a child under way.
type run struct {
	cmd    *exec.Cmd
	stderr strings.Builder
}

// supervision is how a child's calls are dealt with.
type supervision struct {
	disk   *fault.Disk
	decide func(fault.Call) fault.Verdict
}

// outcome is how a child has ended.
type outcome struct {
	// killed says that it was by SIGKILL; code is what it exited with otherwise.
	killed bool
	code   int
	// said is its last word on the database, stderr what the runtime said of it.
	said, stderr string
	calls        int
}

// execute runs a child until it ends. The ledger hears what it says. onLine
// may kill it.
func execute(o order, l *ledger, onLine func(r *run, line string), s *supervision) (out outcome, err error) {
	o.Supervised = s != nil
	encoded, err := json.Marshal(o)
	if err != nil {
		return out, err
	}
	r := &run{cmd: exec.Command(os.Args[0])}
	r.cmd.Env = append(os.Environ(), childEnv+"="+string(encoded), "GOMAXPROCS=2")
	r.cmd.Stderr = &r.stderr
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		return out, err
	}
	var sockets [2]int
	if s != nil {
		if sockets, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return out, err
		}
		r.cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(sockets[1]), "socket")}
	}
	err = r.cmd.Start()
	for _, f := range r.cmd.ExtraFiles {
		err = errors.Join(err, f.Close()) // so that the end of the child is the end of the socket
	}
	if err != nil {
		return out, err
	}
	var supervisor *fault.Supervisor
	if s != nil {
		supervisor, err = fault.Supervise(sockets[0], s.disk, s.decide)
		err = errors.Join(err, unix.Close(sockets[0]))
	}
	if err != nil {
		return out, errors.Join(err, r.kill(), r.cmd.Wait())
	}
	var heard error
	for in := bufio.NewScanner(stdout); in.Scan(); {
		line := in.Text()
		if strings.HasPrefix(line, "refused ") || strings.HasPrefix(line, "failed ") {
			out.said = line
		}
		if err := l.hear(line); err != nil && heard == nil {
			heard = fmt.Errorf("line %q: %w", line, err)
		}
		if onLine != nil {
			onLine(r, line)
		}
	}
	ended := r.cmd.Wait()
	if supervisor != nil {
		if out.calls, err = supervisor.Wait(); err != nil {
			return out, fmt.Errorf("supervising: %w", err)
		}
	}
	out.stderr = r.stderr.String()
	var exit *exec.ExitError
	if errors.As(ended, &exit) {
		out.code = exit.ExitCode()
		out.killed = exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	} else if ended != nil {
		return out, ended
	}
	return out, heard
}

func (r *run) kill() error {
	if err := r.cmd.Process.Kill(); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// orderly reports an end that no fault excuses: a panic, or what a child calls broken.
func (o outcome) orderly() error {
	if o.killed || o.code == exitDone || o.code == exitFailed || o.code == exitRefused {
		return nil
	}
	return fmt.Errorf("the child exited with %d: %s\n%.4000s", o.code, o.said, o.stderr)
}

// tally counts what the rounds of a test came to.
type tally map[string]int

func (c tally) log(t *testing.T) {
	t.Helper()
	t.Logf("%s: %v", t.Name(), map[string]int(c))
}

func (o outcome) kind() string {
	switch {
	case o.killed:
		return "killed"
	case o.code == exitDone:
		return "done"
	case o.code == exitFailed:
		return "failed and stopped"
	case o.code == exitRefused:
		return "refused to open"
	}
	return "broken"
}
