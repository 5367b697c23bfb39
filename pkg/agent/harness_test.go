package agent_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"arl.io/arl/pkg/agent"
	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/agent/wire"
)

// patience is how long a test waits for what must happen. It says nothing of
// how long that should take.
const patience = 30 * time.Second

// testAgent is an agent in this process, on a unix socket, and its client.
type testAgent struct {
	*client.Client
	t      *testing.T
	socket string
	// dir is the work directory of its executions.
	dir string
}

// newAgent starts an agent that is stopped at the end of the test, and sees
// that it leaves no child behind. There may be one at a time.
func newAgent(t testing.TB, config agent.Config) *testAgent {
	t.Helper()
	return newAgentOn(t, config, func(listener net.Listener) net.Listener { return listener })
}

// newAgentOn is newAgent with something between the agent and its socket.
func newAgentOn(t testing.TB, config agent.Config, wrap func(net.Listener) net.Listener) *testAgent {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	config.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	server, err := agent.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, agent.Listener{Listener: wrap(listener)}) }()
	made := &testAgent{Client: client.NewUnix(socket), socket: socket, dir: t.TempDir()}
	made.t, _ = t.(*testing.T)
	t.Cleanup(func() {
		made.Close()
		stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		wantNoChildren(t)
	})
	return made
}

// wantNoChildren sees that no child lives on. One that was killed a moment ago
// may still be on its way out, or have become our child only by its parent's
// end; it is collected here, as the agent's own end would in a pod.
func wantNoChildren(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		switch {
		case err == unix.ECHILD:
			return
		case err != nil && err != unix.EINTR:
			t.Errorf("wait for children: %v", err)
			return
		case err == nil && pid == 0 && time.Now().After(deadline):
			t.Error("the agent left children behind that live on")
			return
		}
	}
}

// context returns one that ends before the test does.
func (a *testAgent) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	a.t.Cleanup(cancel)
	return ctx
}

// execution makes an execution with an ID of its own.
func (a *testAgent) execution(steps ...wire.Step) wire.Execution {
	for i := range steps {
		if steps[i].Type == "" {
			steps[i].Type = wire.StepCommand
		}
		if steps[i].Name == "" {
			steps[i].Name = "step"
		}
	}
	return wire.Execution{ID: rand.Text(), Steps: steps, WorkDir: a.dir}
}

// run runs steps and returns the outcome.
func (a *testAgent) run(steps ...wire.Step) wire.ExecutionResult {
	a.t.Helper()
	return a.runExecution(a.execution(steps...))
}

func (a *testAgent) runExecution(ex wire.Execution) wire.ExecutionResult {
	a.t.Helper()
	result, err := a.Run(a.context(), ex, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return result
}

// awaitBegun waits until the agent knows the execution.
func (a *testAgent) awaitBegun(id string) {
	a.t.Helper()
	eventually(a.t, "the beginning of execution "+id, func() bool {
		ctx, cancel := context.WithCancel(a.t.Context())
		defer cancel()
		_, err := a.Attach(ctx, id, 1, func(wire.Event) { cancel() })
		return !errors.Is(err, client.ErrNotFound)
	})
}

// command is a step that runs a program.
func command(args ...string) wire.Step { return wire.Step{Command: args} }

// shell is a step that runs a script.
func shell(script string) wire.Step { return command("sh", "-c", script) }

// helper is a step that runs one of the helpers.
func helper(name string, args ...string) wire.Step {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return wire.Step{Command: append([]string{self}, args...), Env: map[string]string{helperVariable: name}}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// alive says whether there is such a process and it is no zombie.
func alive(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return rest != "" && rest[0] != 'Z'
}
