package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// Command is a program to run inside the cluster. It sees the machine's files,
// but for those below /run, /var/lib and /var/log, which the cluster has for itself.
type Command struct {
	// Program is a path, or a name to look up on the machine.
	Program string
	Args    []string
	// Env is added to the environment of the test.
	Env []string
	// Stdin, Stdout and Stderr may be nil. What is printed to a nil Stderr
	// becomes part of the error.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Run runs a program until it ends; the end of ctx kills it. If it fails, the
// error is an *exec.ExitError.
func (c *Cluster) Run(ctx context.Context, command Command) error {
	path, err := exec.LookPath(command.Program)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, command.Args...)
	cmd.Dir = c.run
	cmd.Env = append(os.Environ(), command.Env...)
	cmd.WaitDelay = stopTimeout
	cmd.Stdin, cmd.Stdout, cmd.Stderr = command.Stdin, command.Stdout, command.Stderr
	var complaint bytes.Buffer
	if cmd.Stderr == nil {
		cmd.Stderr = &complaint
	}
	if err := c.ns.inside(cmd.Start); err != nil {
		return fmt.Errorf("start %s: %w", command.Program, err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, &complaint)
	}
	return nil
}

// Exec runs a program and returns what it printed. If it fails, the error
// carries what it complained of.
func (c *Cluster) Exec(ctx context.Context, program string, args ...string) (string, error) {
	var stdout bytes.Buffer
	err := c.Run(ctx, Command{Program: program, Args: args, Stdout: &stdout})
	return stdout.String(), err
}

// KubectlCommand is the cluster's own kubectl for a user of some groups, to be
// run with further arguments and streams.
func (c *Cluster) KubectlCommand(user string, groups ...string) (Command, error) {
	config, err := c.Kubeconfig(user, groups...)
	if err != nil {
		return Command{}, err
	}
	cache := filepath.Join(c.run, "kubectl-cache")
	return Command{Program: c.programs["kubectl"], Args: []string{"--kubeconfig=" + config, "--cache-dir=" + cache}}, nil
}

// Kubectl runs the cluster's own kubectl for a user without groups, and returns
// what it printed. If it fails, the error carries what it complained of.
func (c *Cluster) Kubectl(ctx context.Context, user string, args ...string) (string, error) {
	command, err := c.KubectlCommand(user)
	if err != nil {
		return "", err
	}
	return c.Exec(ctx, command.Program, append(command.Args, args...)...)
}
