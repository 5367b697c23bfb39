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
	// maxPipe bounds what is read of a pipe that another process holds open
	// when its time is over; no pipe holds more by default.
	maxPipe = 1 << 20
)

// Command is a command to run.
type Command struct {
	// ID is in the environment of the command; see Supervisor.Start.
	ID   string
	Args []string
	// Env is the whole environment but for what Start adds.
	Env []string
	// Dir is absolute and exists.
	Dir   string
	Stdin string
	// Stdout and Stderr are called with what the command writes, at most 32 KiB
	// at a time, each from one goroutine. They must not keep the bytes, and may block.
	Stdout, Stderr func([]byte)
	// Linger is how long the end of the command's output is waited for after its own end, if
	// another process holds the output open: it may be one that flushes, such
	// as tee in "cmd > >(tee log)". What is written later is discarded.
	Linger time.Duration
	// Grace is the time between TERM and KILL for the command when it is
	// stopped, and for what it left running when the agent ends.
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
// passed on. What it left running goes on. If ctx ends first, the command is
// stopped with its family. If it cannot be started, returns a *StartError.
func (s *Supervisor) Run(ctx context.Context, command Command) (Result, error) {
	path, err := lookUp(command.Args[0], command.Dir, command.Env)
	if err != nil {
		return Result{}, err
	}
	pipes, err := openPipes(command.Stdin != "")
	if err != nil {
		return Result{}, startError(command.Args[0], err)
	}
	defer pipes.close()
	cmd := &exec.Cmd{Path: path, Args: command.Args, Env: command.Env, Dir: command.Dir, Stdout: pipes.stdout.write, Stderr: pipes.stderr.write}
	if command.Stdin != "" {
		cmd.Stdin = pipes.stdin.read
	}
	process, err := s.Start(cmd, command.ID, command.Grace)
	if err != nil {
		return Result{}, startFailure(command.Args, command.Env, err)
	}
	pipes.closeTheirs()

	var pumps sync.WaitGroup
	var outHeld, errHeld bool
	pumps.Go(func() { outHeld = pump(pipes.stdout.read, command.Stdout) })
	pumps.Go(func() { errHeld = pump(pipes.stderr.read, command.Stderr) })
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
	}
	pipes.stopReading(command.Linger)
	pumps.Wait()
	feeder.Wait()
	if outHeld {
		s.drains.add(pipes.stdout.take())
	}
	if errHeld {
		s.drains.add(pipes.stderr.take())
	}
	result.ExitCode, result.Signal = process.ExitCode(), process.Signal()
	return result, nil
}

// Spawn starts a command that runs on its own, with no input, and the agent's
// standard output and error as its own. Env is the whole environment but for
// what Start adds, to which grace goes, too. If it cannot be started, returns a *StartError.
func (s *Supervisor) Spawn(id string, args, env []string, grace time.Duration) (*Process, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, &StartError{Message: fmt.Sprintf("%s: cannot be started: %v", args[0], err)}
	}
	path, err := lookUp(args[0], dir, env)
	if err != nil {
		return nil, err
	}
	process, err := s.Start(&exec.Cmd{Path: path, Args: args, Env: env, Stdout: os.Stdout, Stderr: os.Stderr}, id, grace)
	if err != nil {
		return nil, startFailure(args, env, err)
	}
	return process, nil
}

// pipe is one pipe; a closed end is nil.
type pipe struct{ read, write *os.File }

// take hands over the end to read from.
func (p *pipe) take() *os.File {
	taken := p.read
	p.read = nil
	return taken
}

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
func (p *pipes) stopReading(linger time.Duration) {
	deadline := time.Now().Add(linger)
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
// what is there then. It says whether the pipe is still held open.
func pump(from *os.File, sink func([]byte)) (held bool) {
	chunk := chunks.Get().(*[chunkBytes]byte)
	defer chunks.Put(chunk)
	for {
		n, err := from.Read(chunk[:])
		if n > 0 {
			sink(chunk[:n])
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return pumpRest(from, chunk[:], sink)
		}
		if err != nil {
			return false
		}
	}
}

// pumpRest passes on what was written already, without waiting for more. The
// deadline may have passed while the sink was slow. It says whether the pipe is still held open.
func pumpRest(from *os.File, chunk []byte, sink func([]byte)) (held bool) {
	if from.SetReadDeadline(time.Time{}) != nil {
		return false
	}
	raw, err := from.SyscallConn()
	if err != nil {
		return false
	}
	for total := 0; total < maxPipe; {
		n := 0
		readErr := raw.Read(func(fd uintptr) bool {
			n, err = syscall.Read(int(fd), chunk)
			return true
		})
		switch {
		case readErr != nil:
			return false
		case n > 0:
			sink(chunk[:n])
			total += n
		case !errors.Is(err, syscall.EINTR):
			// Nothing there now, or the end.
			return errors.Is(err, syscall.EAGAIN)
		}
	}
	return true
}
