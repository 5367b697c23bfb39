package agent

import (
	"errors"
	"log/slog"
	"os"
	"time"

	"arl.io/arl/pkg/agent/execution"
	"arl.io/arl/pkg/agent/process"
	"arl.io/arl/pkg/agent/wire"
)

// mainMark marks the processes of the template's own command. No execution can
// have this ID: it has a slash.
const mainMark = "arl/main"

// mainCommand is the template's own command. Its end does not end the agent. The
// zero value stands for a template that has none.
type mainCommand struct {
	wanted bool
	logger *slog.Logger
	// process is nil if the command could not be started; code and err say why then.
	process *process.Process
	code    int32
	err     error
}

// startMain starts the template's command. That it cannot be started is told by
// health, to whoever made the pod: the container's log may be out of reach.
func (s *Server) startMain() *mainCommand {
	if len(s.config.Main) == 0 {
		return &mainCommand{}
	}
	started := &mainCommand{wanted: true, logger: s.logger}
	started.process, started.err = s.supervisor.Spawn(mainMark, s.config.Main, execution.CommandEnv(os.Environ()), s.config.StopGrace)
	if started.err != nil {
		started.code = process.CodeNotExecutable
		var start *process.StartError
		if errors.As(started.err, &start) && start.ExitCode != 0 {
			started.code = start.ExitCode
		}
		s.logger.Error("The template's command cannot be started", "command", s.config.Main, "err", started.err)
	}
	return started
}

// watch logs the end of the command and returns.
func (m *mainCommand) watch() {
	if m.process == nil {
		return
	}
	<-m.process.Done()
	m.logger.Info("The template's command has ended", "exitCode", m.process.ExitCode())
}

// stop ends the command and all it began. If the command has ended by itself,
// Supervisor.EndLeft does that.
func (m *mainCommand) stop(grace time.Duration) {
	if status := m.status(); status != nil && status.Running {
		m.process.Stop(grace)
	}
}

// status returns the state of the command, or nil if there is none.
func (m *mainCommand) status() *wire.MainStatus {
	if !m.wanted {
		return nil
	}
	if m.process == nil {
		return &wire.MainStatus{ExitCode: m.code, Error: m.err.Error()}
	}
	select {
	case <-m.process.Done():
		return &wire.MainStatus{ExitCode: m.process.ExitCode()}
	default:
		return &wire.MainStatus{Running: true}
	}
}
