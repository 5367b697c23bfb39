package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"syscall"
	"time"
)

const (
	// etcdQuota is well above what a run writes: a backend that refuses writes
	// cannot be measured.
	etcdQuota = "8589934592"
	// etcdPatience is how long etcd may take to start or to stop.
	etcdPatience = 30 * time.Second
	// etcdPoll is short beside a start.
	etcdPoll = 20 * time.Millisecond
)

// etcdServer is a running etcd of one member, with the settings etcd ships
// with, which sync every write. Clients reach it over the loopback interface
// without TLS, which favours it over the way clusters use it.
type etcdServer struct {
	endpoint string
	cmd      *exec.Cmd
	log      bytes.Buffer
}

func startEtcd(ctx context.Context, binary, dir string) (*etcdServer, error) {
	client, err := freeURL()
	if err != nil {
		return nil, err
	}
	peer, err := freeURL()
	if err != nil {
		return nil, err
	}
	s := &etcdServer{endpoint: client}
	s.cmd = exec.CommandContext(ctx, binary,
		"--name=bench", "--data-dir="+dir, "--log-level=error", "--quota-backend-bytes="+etcdQuota,
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=bench="+peer,
	)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	// A stop of the benchmark from the keyboard must not end etcd first.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	if err := s.waitHealthy(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *etcdServer) waitHealthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, etcdPatience)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.endpoint+"/health", nil)
		if err != nil {
			return err
		}
		if answer, err := http.DefaultClient.Do(req); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("etcd did not become healthy: %w\n%s", ctx.Err(), s.log.String())
		case <-time.After(etcdPoll):
		}
	}
}

// stop ends etcd and waits for it.
func (s *etcdServer) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop etcd: %w", err)
	}
	timer := time.AfterFunc(etcdPatience, func() { _ = s.cmd.Process.Kill() })
	defer timer.Stop()
	var exited *exec.ExitError
	if err := s.cmd.Wait(); err != nil && !errors.As(err, &exited) {
		return fmt.Errorf("wait for etcd: %w", err)
	}
	return nil
}

// freeURL returns an address that nobody listens on.
func freeURL() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer listener.Close()
	return "http://" + listener.Addr().String(), nil
}
