// Package harness starts real standalone servers, as processes of their own,
// for integration tests and benchmarks. It runs the binaries that "make build"
// made, so what is tested is what users run.
//
// A Server is not safe for concurrent calls of Start, Kill and Stop; its
// clients are.
package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"arl.io/arl/pkg/generated/clientset/versioned"
)

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 60 * time.Second
	pollInterval = 20 * time.Millisecond
)

// Config says how a server is started.
type Config struct {
	// Binary is the path of arl-apiserver; arl-agent is beside it.
	Binary string
	// Dir is the data directory. The log goes to a file of the same name with ".log".
	Dir string
	// Args are further flags.
	Args []string
}

// Server is a standalone server's process.
type Server struct {
	config Config
	port   int
	cmd    *exec.Cmd
	exited chan struct{}
	err    error
}

// New picks a port for a server and does not start it yet. The port stays the
// same over restarts, so that clients find the server again.
func New(config Config) (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("pick a port: %w", err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return &Server{config: config, port: port}, listener.Close()
}

// Start starts the process and waits until it is ready. If it exits before
// that, the error carries the end of its log.
func (s *Server) Start(ctx context.Context) error { return s.startUntil(ctx, "/readyz") }

// StartUnready starts the process and waits only until it is alive: for a
// server that cannot get ready, such as one that lacks a key.
func (s *Server) StartUnready(ctx context.Context) error { return s.startUntil(ctx, "/livez") }

// startUntil starts the process and waits until the path answers with 200.
func (s *Server) startUntil(ctx context.Context, path string) error {
	log, err := os.OpenFile(s.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the server's log: %w", err)
	}
	defer log.Close()
	// Tests and benchmarks take a namespace of their own without creating it.
	args := append([]string{"--standalone", "--data-dir", s.config.Dir, "--secure-port", strconv.Itoa(s.port), "--create-namespaces"}, s.config.Args...)
	s.cmd = exec.Command(s.config.Binary, args...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	s.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		s.err = cmd.Wait()
		close(exited)
	}(s.cmd, s.exited)

	err = wait.PollUntilContextTimeout(ctx, pollInterval, startTimeout, true, func(ctx context.Context) (bool, error) {
		select {
		case <-s.exited:
			return false, fmt.Errorf("the server exited: %w\n%s", s.err, s.LogTail())
		default:
			return s.answers(ctx, path), nil
		}
	})
	if err != nil {
		return errors.Join(fmt.Errorf("wait for %s of the server: %w\n%s", path, err, s.LogTail()), s.Kill())
	}
	return nil
}

func (s *Server) answers(ctx context.Context, path string) bool {
	client, err := NewClient(s.Kubeconfig())
	if err != nil {
		return false
	}
	return client.Discovery().RESTClient().Get().AbsPath(path).Do(ctx).Error() == nil
}

// PID is the process's.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Kubeconfig is the path of the kubeconfig that the server wrote.
func (s *Server) Kubeconfig() string { return filepath.Join(s.config.Dir, "kubeconfig") }

// LogFile is the path of the server's log.
func (s *Server) LogFile() string { return s.config.Dir + ".log" }

// LogTail is the end of the server's log.
func (s *Server) LogTail() string {
	content, err := os.ReadFile(s.LogFile())
	if err != nil {
		return err.Error()
	}
	const most = 4000
	return string(content[max(0, len(content)-most):])
}

// RESTConfig is that of the admin, without a client-side rate limit.
func (s *Server) RESTConfig() (*rest.Config, error) { return restConfig(s.Kubeconfig()) }

// NewClient returns the client of a kubeconfig, without a client-side rate limit.
func NewClient(kubeconfig string) (*versioned.Clientset, error) {
	config, err := restConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	return versioned.NewForConfig(config)
}

func restConfig(kubeconfig string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	config.QPS = -1
	return config, nil
}

// Exited is closed when the process has ended.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// Kill ends the process with SIGKILL and waits for it.
func (s *Server) Kill() error {
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill the server: %w", err)
	}
	<-s.exited
	return nil
}

// Stop ends the process with SIGTERM and waits for it. A process that takes
// too long or exits with another code than 0 is an error.
func (s *Server) Stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the server: %w", err)
	}
	select {
	case <-s.exited:
	case <-time.After(stopTimeout):
		return errors.Join(fmt.Errorf("the server did not stop within %s", stopTimeout), s.Kill())
	}
	if s.err != nil {
		return fmt.Errorf("the server exited: %w\n%s", s.err, s.LogTail())
	}
	return nil
}

// Purge removes every container of a server that has ended.
func (s *Server) Purge(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, s.config.Binary, "purge", "--data-dir", s.config.Dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("purge %s: %w\n%s", s.config.Dir, err, out)
	}
	return nil
}
