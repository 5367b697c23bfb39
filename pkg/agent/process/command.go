package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

const (
	// chunkBytes is the most that a sink gets in one call.
	chunkBytes = 32 << 10
	// drain bounds the wait for the end of the output of a command of which
	// nothing is left: somebody else holds the pipe then. What is written
	// already is read in any case.
	drain = 250 * time.Millisecond
	// maxDrain bounds what is read then; no pipe holds more by default.
	maxDrain = 1 << 20
)

// Command is a command to run.
type Command struct {
	// ID marks the processes of the command; see Supervisor.Start.
	ID   string
	Args []string
	// Env is the whole environment but for the mark.
	Env []string
	// Dir is absolute and exists.
	Dir   string
	Stdin string
	// Stdout and Stderr are called with what the command writes, at most 32 KiB
	// at a time, each from one goroutine. They must not keep the bytes, and may block.
	Stdout, Stderr func([]byte)
	// Linger is what processes that the command left behind get to end by
	// themselves, such as the last of a pipeline that still has to flush.
	Linger time.Duration
	// Grace is the time between TERM and KILL for the command when it is stopped,
	// and for what it left behind.
	Grace time.Duration
}

// Result is how a command ended.
type Result struct {
	ExitCode int32
	// Signal ended the command; 0 if none did.
	Signal syscall.Signal
	// Stopped says that it was stopped because ctx ended.
	Stopped bool
}

// Run runs a command to its end, and returns once everything it wrote was
// passed on and nothing of it is left. If ctx ends first, the command is
// stopped. If it cannot be started, returns a *StartError.
func (s *Supervisor) Run(ctx context.Context, command Command) (Result, error) {
	env := append(command.Env[:len(command.Env):len(command.Env)], MarkVariable+"="+command.ID)
	path, err := lookUp(command.Args[0], command.Dir, env)
	if err != nil {
		return Result{}, err
	}
	pipes, err := openPipes(command.Stdin != "")
	if err != nil {
		return Result{}, &StartError{Message: fmt.Sprintf("%s: cannot be started: %v", command.Args[0], err)}
	}
	defer pipes.close()
	cmd := &exec.Cmd{Path: path, Args: command.Args, Env: env, Dir: command.Dir, Stdout: pipes.stdout.write, Stderr: pipes.stderr.write}
	if command.Stdin != "" {
		cmd.Stdin = pipes.stdin.read
	}
	process, err := s.Start(cmd, command.ID)
	if err != nil {
		return Result{}, startFailure(command.Args[0], err)
	}
	pipes.closeTheirs()

	var pumps sync.WaitGroup
	pumps.Go(func() { pump(pipes.stdout.read, command.Stdout) })
	pumps.Go(func() { pump(pipes.stderr.read, command.Stderr) })
	var feeder sync.WaitGroup
	if command.Stdin != "" {
		feeder.Go(func() { feed(pipes.stdin.write, command.Stdin) })
	}

	var result Result
	select {
	case <-process.Done():
	case <-ctx.Done():
		// If both have happened, it has ended by itself.
		result.Stopped = !process.ended()
	}
	if result.Stopped {
		process.Stop(command.Grace)
	} else {
		process.Settle(command.Linger, command.Grace)
	}
	pipes.stopReading()
	pumps.Wait()
	feeder.Wait()
	result.ExitCode, result.Signal = process.ExitCode(), process.Signal()
	return result, nil
}

// Spawn starts a command that runs on its own, with no input, and the agent's
// standard output and error as its own. Env is the whole environment but for
// the mark. If it cannot be started, returns a *StartError.
func (s *Supervisor) Spawn(id string, args, env []string) (*Process, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, &StartError{Message: fmt.Sprintf("%s: cannot be started: %v", args[0], err)}
	}
	path, err := lookUp(args[0], dir, env)
	if err != nil {
		return nil, err
	}
	env = append(env[:len(env):len(env)], MarkVariable+"="+id)
	process, err := s.Start(&exec.Cmd{Path: path, Args: args, Env: env, Stdout: os.Stdout, Stderr: os.Stderr}, id)
	if err != nil {
		return nil, startFailure(args[0], err)
	}
	return process, nil
}

// pipe is one pipe; a closed end is nil.
type pipe struct{ read, write *os.File }

// pipes are those between the agent and a command.
type pipes struct{ stdin, stdout, stderr pipe }

func openPipes(stdin bool) (*pipes, error) {
	opened := &pipes{}
	wanted := []*pipe{&opened.stdout, &opened.stderr}
	if stdin {
		wanted = append(wanted, &opened.stdin)
	}
	for _, each := range wanted {
		var err error
		if each.read, each.write, err = os.Pipe(); err != nil {
			opened.close()
			return nil, err
		}
	}
	return opened, nil
}

// closeTheirs closes the ends that the command has got.
func (p *pipes) closeTheirs() {
	closeEnd(&p.stdin.read)
	closeEnd(&p.stdout.write)
	closeEnd(&p.stderr.write)
}

// stopReading gives the readers of output a last deadline and ends the writer of input.
func (p *pipes) stopReading() {
	deadline := time.Now().Add(drain)
	// These cannot fail for a pipe that is open.
	_ = p.stdout.read.SetReadDeadline(deadline)
	_ = p.stderr.read.SetReadDeadline(deadline)
	if p.stdin.write != nil {
		_ = p.stdin.write.SetWriteDeadline(time.Unix(1, 0))
	}
}

func (p *pipes) close() {
	for _, each := range []*pipe{&p.stdin, &p.stdout, &p.stderr} {
		closeEnd(&each.read)
		closeEnd(&each.write)
	}
}

func closeEnd(end **os.File) {
	if *end != nil {
		_ = (*end).Close()
		*end = nil
	}
}

// feed writes the input. A command that does not want all of it is no error.
func feed(stdin *os.File, input string) {
	_, _ = io.WriteString(stdin, input)
	_ = stdin.Close()
}

// chunks are the buffers of pumps.
var chunks = sync.Pool{New: func() any { return new([chunkBytes]byte) }}

// pump passes on what can be read until the end, or until the deadline and
// what is there then.
func pump(from *os.File, sink func([]byte)) {
	chunk := chunks.Get().(*[chunkBytes]byte)
	defer chunks.Put(chunk)
	for {
		n, err := from.Read(chunk[:])
		if n > 0 {
			sink(chunk[:n])
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			pumpRest(from, chunk[:], sink)
			return
		}
		if err != nil {
			return
		}
	}
}

// pumpRest passes on what was written already, without waiting for more. The
// deadline may have passed while the sink was slow.
func pumpRest(from *os.File, chunk []byte, sink func([]byte)) {
	if from.SetReadDeadline(time.Time{}) != nil {
		return
	}
	raw, err := from.SyscallConn()
	if err != nil {
		return
	}
	for total := 0; total < maxDrain; {
		n := 0
		readErr := raw.Read(func(fd uintptr) bool {
			n, err = syscall.Read(int(fd), chunk)
			return true
		})
		if readErr != nil || err != nil || n <= 0 {
			return
		}
		sink(chunk[:n])
		total += n
	}
}
