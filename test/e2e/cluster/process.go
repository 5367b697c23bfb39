package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// readyTimeout is how long one program may take to get ready, also on a busy machine.
	readyTimeout = 3 * time.Minute
	// stopTimeout is how long one may take to end when asked to.
	stopTimeout = 30 * time.Second
)

// process is a program of the cluster that is running, or has ended.
type process struct {
	name, log string
	started   time.Time
	cmd       *exec.Cmd
	exited    chan struct{}
	err       error // why it ended; to be read after exited is closed
}

// spawn starts a program inside, with its output in a log of its name. If one
// of that name runs already, that is an error.
func (c *Cluster) spawn(name, program string, args ...string) (*process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.processes[name]; old != nil && old.running() {
		return nil, fmt.Errorf("%s is running already", name)
	}
	file := filepath.Join(c.logs, name+".log")
	log, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	defer log.Close()
	p := &process{name: name, log: file, started: time.Now(), exited: make(chan struct{})}
	p.cmd = exec.Command(program, append(args, c.config.Args[name]...)...)
	p.cmd.Dir = c.run
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.ns.inside(p.cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	c.processes[name] = p
	return p, nil
}

// named is the process of a name, or an error if it was never started.
func (c *Cluster) named(name string) (*process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.processes[name]
	if p == nil {
		return nil, fmt.Errorf("%s was not started", name)
	}
	return p, nil
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// until waits until a check holds. It gives up early if the process ends. The
// error carries the end of its log.
func (p *process) until(ctx context.Context, what string, check func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, pollInterval, readyTimeout, true, func(ctx context.Context) (bool, error) {
		if !p.running() {
			return false, fmt.Errorf("it ended: %w", p.err)
		}
		last = check(ctx)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("wait until %s %s: %w\n%s", p.name, what, errors.Join(err, last), p.tail())
	}
	return nil
}

func (p *process) tail() string {
	content, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	const most = 3000
	return string(content[max(0, len(content)-most):])
}

// signal sends a signal and waits until the process has ended. One that takes
// too long is killed, which is an error.
func (p *process) signal(signal unix.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.name, err)
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(stopTimeout):
	}
	err := fmt.Errorf("%s did not end within %s of %s", p.name, stopTimeout, signal)
	if killed := p.cmd.Process.Kill(); killed != nil && !errors.Is(killed, os.ErrProcessDone) {
		err = errors.Join(err, killed)
	}
	<-p.exited
	return err
}
