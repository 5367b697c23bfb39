// Package agent is the server inside every pod. It takes executions over
// HTTP/2, has them run, and streams what they tell; and it looks after the
// template's own command, if there is one. It knows nothing of Kubernetes.
//
//	process    starts commands, and stops them with all they began
//	file       writes and patches files beneath the container's root
//	probe      carries out the template's probes where no kubelet does
//	memory     reads from the cgroup whether memory ran out
//	output     keeps events and output within bounds
//	execution  runs steps, each execution once
//	wire       the protocol; package client speaks the other side
//
// Goroutines: Serve owns the reaper of orphans, one server for each listener, one watcher of the
// template's command and the prober, and joins them all; executions belong to their registry.
// This package has no lock of its own. Read server.go first, then handlers.go.
package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"arl.io/arl/pkg/agent/execution"
	"arl.io/arl/pkg/agent/file"
	"arl.io/arl/pkg/agent/memory"
	"arl.io/arl/pkg/agent/probe"
	"arl.io/arl/pkg/agent/process"
	"arl.io/arl/pkg/agent/wire"
)

const (
	// closeTimeout is what streams get to send their last events at shutdown.
	closeTimeout = 250 * time.Millisecond
	// maxStreams bounds the requests of one connection at the same time.
	maxStreams = 1024
	// pingAfter of silence a connection is probed, and given up without an answer within pingTimeout.
	pingAfter   = 30 * time.Second
	pingTimeout = 15 * time.Second
)

// Config makes a Server. Logger is needed.
type Config struct {
	// Version is the agent's, for Health.
	Version string
	// PodUID is for Health, so that a server can tell that it reached the right pod.
	PodUID string
	// Root is the directory outside of which no file is written. Default "/".
	Root string
	// WorkDir is made when the server starts, if not empty. Absolute, seen from Root.
	WorkDir string
	// Main is the template's own command, if any.
	Main []string
	// StopGrace is the time between TERM and KILL for Main. Default 5 s.
	StopGrace time.Duration
	// Probes are the template's, if the agent is to carry them out.
	Probes *wire.Probes
	// PingInterval is the longest silence of a stream. Default 15 s.
	PingInterval time.Duration
	// Memory is the container's cgroup; nil if it cannot be read. The caller closes it.
	Memory *memory.Events
	// Execution holds the limits of executions; the rest of it is filled in here.
	Execution execution.Config
	Logger    *slog.Logger
}

func (c *Config) complete() {
	if c.Root == "" {
		c.Root = "/"
	}
	if c.StopGrace == 0 {
		c.StopGrace = 5 * time.Second
	}
	if c.PingInterval == 0 {
		c.PingInterval = 15 * time.Second
	}
}

// Server is one agent.
type Server struct {
	config     Config
	logger     *slog.Logger
	instance   string
	files      *file.Root
	supervisor *process.Supervisor
	executions *execution.Registry
	// prober is nil if there are no probes.
	prober *probe.Prober
	// main is the template's command; it is set before the first request is served.
	main *mainCommand
}

// New returns a server and makes this process the reaper of its descendants.
// Serve frees what it holds.
func New(config Config) (*Server, error) {
	config.complete()
	files, err := file.OpenRoot(config.Root)
	if err != nil {
		return nil, err
	}
	if config.WorkDir != "" {
		if _, err := files.MakeDir(config.WorkDir); err != nil {
			return nil, errors.Join(fmt.Errorf("work directory: user %d cannot make it: %w", os.Geteuid(), err), files.Close())
		}
	}
	supervisor, err := process.New(process.Config{
		Logger: config.Logger,
		// What Main leaves behind could not be told from what a step does.
		Exclusive: os.Getpid() == 1 && len(config.Main) == 0,
	})
	if err != nil {
		return nil, errors.Join(err, files.Close())
	}
	prober, err := newProber(config.Probes, supervisor)
	if err != nil {
		return nil, errors.Join(err, files.Close())
	}
	limits := config.Execution
	limits.Supervisor, limits.Files, limits.Logger, limits.Env = supervisor, files, config.Logger, os.Environ()
	limits.Memory = config.Memory
	return &Server{
		config:     config,
		logger:     config.Logger,
		instance:   rand.Text(),
		files:      files,
		supervisor: supervisor,
		prober:     prober,
		executions: execution.NewRegistry(limits),
	}, nil
}

// newProber returns a prober, or nil if there are no probes.
func newProber(probes *wire.Probes, supervisor *process.Supervisor) (*probe.Prober, error) {
	if probes == nil {
		return nil, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("probes: %w", err)
	}
	prober, err := probe.New(probe.Config{
		Probes: *probes, Supervisor: supervisor, Dir: dir, Env: execution.CommandEnv(os.Environ()),
	})
	if err != nil {
		return nil, fmt.Errorf("probes: %w", err)
	}
	return prober, nil
}

// Listener is where a server listens, and whether TLS is spoken there. With
// TLS the listener does it already, and offers the protocol "h2".
type Listener struct {
	net.Listener
	TLS bool
}

// Serve serves on all listeners until ctx ends or one of them fails. Then it
// ends what runs, TERM first and KILL after a grace, closes the listeners and returns.
// The end of ctx is no error. It is called once.
func (s *Server) Serve(ctx context.Context, listeners ...Listener) error {
	var group sync.WaitGroup
	defer group.Wait()
	reaping, stopReaping := context.WithCancel(context.Background())
	defer stopReaping()
	group.Go(func() { s.supervisor.Reap(reaping) })
	s.main = s.startMain()
	group.Go(s.main.watch)
	probing, stopProbing := context.WithCancel(ctx)
	defer stopProbing()
	if s.prober != nil {
		group.Go(func() { s.prober.Run(probing) })
	}

	failed := make(chan error, len(listeners))
	servers := make([]*http.Server, 0, len(listeners))
	for _, listener := range listeners {
		server := s.httpServer(listener.TLS)
		servers = append(servers, server)
		group.Go(func() { failed <- server.Serve(listener) })
	}
	s.logger.Info("The agent serves", "version", s.config.Version, "podUID", s.config.PodUID, "pid", os.Getpid())
	var err error
	select {
	case <-ctx.Done():
		s.logger.Info("The agent shuts down")
	case err = <-failed:
		err = fmt.Errorf("serving: %w", err)
	}
	stopProbing()
	s.shutDown(servers)
	return errors.Join(err, s.files.Close())
}

// shutDown ends all processes, each after its own grace, and then the servers, whose
// streams thus report the end.
func (s *Server) shutDown(servers []*http.Server) {
	var group sync.WaitGroup
	group.Go(s.executions.Close)
	group.Go(func() { s.main.stop(s.config.StopGrace) })
	group.Go(s.supervisor.EndLeft)
	group.Wait()
	// Steps that ended meanwhile may have left something.
	s.supervisor.EndLeft()
	s.supervisor.Close()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	for _, server := range servers {
		if err := server.Shutdown(ctx); err != nil {
			// The rest is cut off.
			_ = server.Close()
		}
	}
}

// httpServer returns a server that speaks HTTP/2 only.
func (s *Server) httpServer(overTLS bool) *http.Server {
	protocols := new(http.Protocols)
	if overTLS {
		protocols.SetHTTP2(true)
	} else {
		protocols.SetUnencryptedHTTP2(true)
	}
	return &http.Server{
		Handler:           s.handler(),
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelWarn),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams,
			SendPingTimeout:      pingAfter,
			PingTimeout:          pingTimeout,
		},
	}
}

// health tells how the agent is.
func (s *Server) health() wire.Health {
	health := wire.Health{
		ProtocolVersion: wire.ProtocolVersion,
		Version:         s.config.Version,
		PodUID:          s.config.PodUID,
		Used:            s.executions.Used(),
		Running:         s.executions.Running(),
		Main:            s.main.status(),
	}
	if s.prober != nil {
		readiness := s.prober.Readiness()
		health.Readiness = &readiness
	}
	return health
}
