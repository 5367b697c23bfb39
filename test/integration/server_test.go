package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"arl.io/arl/pkg/generated/clientset/versioned"
	"arl.io/arl/test/cli"
	"arl.io/arl/test/harness"
)

const (
	// patience is how long anything is waited for: far longer than it takes, so
	// that a busy machine fails no test.
	patience     = 90 * time.Second
	pollInterval = 20 * time.Millisecond
)

// server is a standalone server with a directory and clients of its own. It is
// started and stopped by one goroutine.
type server struct {
	*harness.Server
	// dir holds data, which is the data directory, and the log.
	dir, data string
	running   bool
	config    *rest.Config
	client    *versioned.Clientset
}

// newServer prepares a server and does not start it.
func newServer(args ...string) (*server, error) {
	// Not the test's own directory: its long name leaves no room for sockets.
	dir, err := os.MkdirTemp("", "arl-it-")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, data: filepath.Join(dir, "data")}
	s.Server, err = harness.New(s.with(args...))
	return s, err
}

// with is the configuration of the server with the flags beside the usual ones.
func (s *server) with(args ...string) harness.Config {
	return harness.Config{
		Binary: binary(), Dir: s.data,
		Args: append([]string{"--allow-host-image", "--v=2"}, args...),
	}
}

// reconfigure gives a server that does not run other flags. It moves to another port.
func (s *server) reconfigure(t *testing.T, args ...string) {
	t.Helper()
	other, err := harness.New(s.with(args...))
	if err != nil {
		t.Fatal(err)
	}
	s.Server = other
}

// startServer starts a server for one test.
func startServer(t *testing.T, args ...string) *server {
	t.Helper()
	needContainers(t)
	s := ownServer(t, args...)
	s.mustStart(t)
	return s
}

// ownServer prepares a server that is removed at the test's end.
func ownServer(t *testing.T, args ...string) *server {
	t.Helper()
	s, err := newServer(args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the server's log:\n%s", s.LogTail())
		}
		if err := s.remove(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *server) start(ctx context.Context) error {
	if err := s.Start(ctx); err != nil {
		return err
	}
	return s.connect()
}

// mustStartUnready starts a server that may never get ready.
func (s *server) mustStartUnready(t *testing.T) {
	t.Helper()
	if err := s.StartUnready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.connect(); err != nil {
		t.Fatal(err)
	}
}

// connect makes the clients of a server that runs.
func (s *server) connect() error {
	s.running = true
	var err error
	if s.config, err = s.RESTConfig(); err != nil {
		return err
	}
	s.client, err = versioned.NewForConfig(s.config)
	return err
}

func (s *server) mustStart(t *testing.T) {
	t.Helper()
	if err := s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// mustStop ends the server with SIGTERM; it must exit with 0.
func (s *server) mustStop(t *testing.T) {
	t.Helper()
	s.running = false
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
}

// mustKill ends the server with SIGKILL.
func (s *server) mustKill(t *testing.T) {
	t.Helper()
	s.running = false
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
}

// remove ends the server if it runs, and removes all there is of it.
func (s *server) remove() error {
	var errs []error
	if s.running {
		s.running = false
		errs = append(errs, s.Stop())
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	errs = append(errs, s.Purge(ctx), os.RemoveAll(s.dir))
	return errors.Join(errs...)
}

// storage is the directory of the database.
func (s *server) storage() string { return filepath.Join(s.data, "storage") }

// runToEnd runs a command that ends by itself.
func runToEnd(ctx context.Context, command *exec.Cmd) (cli.Outcome, error) {
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	if ctx.Err() != nil {
		return cli.Outcome{}, fmt.Errorf("%s: %w\n%s%s", command, ctx.Err(), &stdout, &stderr)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return cli.Outcome{}, fmt.Errorf("%s: %w", command, err)
	}
	return cli.Outcome{Stdout: stdout.String(), Stderr: stderr.String(), Code: command.ProcessState.ExitCode()}, nil
}

// refuse runs the server on its data directory, expects it to give up by
// itself, and returns what it said.
func (s *server) refuse(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	args = append([]string{"--standalone", "--data-dir", s.data, "--secure-port", "0"}, args...)
	got, err := runToEnd(ctx, exec.CommandContext(ctx, binary(), args...))
	if err != nil {
		t.Fatalf("the server should have refused to start: %v", err)
	}
	if got.Code == 0 {
		t.Errorf("exit code 0, want another: %s", got.Stderr)
	}
	return got.Stdout + got.Stderr
}
