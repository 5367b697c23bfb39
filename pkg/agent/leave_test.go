package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"arl.io/arl/pkg/agent"
	"arl.io/arl/pkg/agent/execution"
	"arl.io/arl/pkg/agent/wire"
)

// leaving are steps that leave a process running and print its ID.
var leaving = map[string]string{
	"in the background":         `sleep 300 & echo $!`,
	"with nohup":                `nohup sleep 300 & echo $!`,
	"in a session of its own":   `setsid sleep 300 & echo $!`,
	"without its mark":          `env -i /bin/sleep 300 & echo $!`,
	"that holds no pipe at all": `sleep 300 >/dev/null 2>&1 & echo $!`,
	"a daemon":                  `(setsid sh -c 'echo $$; exec sleep 300' &)`,
}

// What a step leaves running when it ends by itself goes on, whatever becomes of later steps
// of the same task and of others, until the agent ends.
func TestWhatAStepLeavesRunningGoesOn(t *testing.T) {
	for name, script := range leaving {
		t.Run(name, func(t *testing.T) {
			var pids []string
			t.Run("agent", func(t *testing.T) {
				a := newAgent(t, agent.Config{})
				later := shell("sleep 300")
				later.TimeoutMillis = 50
				result := a.run(shell(script), mayFail(shell("exit 1")), mayFail(later))
				if result.State != wire.Succeeded {
					t.Fatal(result.Message)
				}
				pids = strings.Fields(string(result.Stdout))
				if len(pids) != 1 {
					t.Fatalf("got %q, want a process ID", result.Stdout)
				}
				if result := a.run(later); result.Reason != wire.ReasonTimeout {
					t.Errorf("got %+v", result)
				}
				if !alive(pids[0]) {
					t.Error("it was ended with a later step")
				}
			})
			if len(pids) == 1 && alive(pids[0]) {
				t.Error("it outlived the agent")
			}
		})
	}
}

// A step that is stopped leaves nothing running.
func TestAStoppedStepLeavesNothingRunning(t *testing.T) {
	for name, script := range leaving {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t, agent.Config{})
			leave := shell(script + "; touch ready; sleep 300")
			ex := a.execution(leave)
			cancelled := make(chan struct{})
			go func() {
				defer close(cancelled)
				eventually(t, "the step", func() bool {
					_, err := os.Stat(filepath.Join(a.dir, "ready"))
					return err == nil
				})
				if err := a.Cancel(t.Context(), ex.ID, wire.CancelRequest{}); err != nil {
					t.Error(err)
				}
			}()
			result := a.runExecution(ex)
			<-cancelled
			for _, pid := range strings.Fields(string(result.Stdout)) {
				if alive(pid) {
					t.Errorf("process %s is still there", pid)
				}
			}
			if result.Reason != wire.ReasonCancelled {
				t.Errorf("got %+v", result)
			}
		})
	}
}

// A server that a step leaves running writes its log to the step's output. It must not be
// ended or blocked by that when the step has ended, and the next task can use it.
func TestAServerThatAStepLeavesRunningServes(t *testing.T) {
	a := newAgent(t, agent.Config{})
	if result := a.run(shell("mkfifo in out")); result.State != wire.Succeeded {
		t.Fatal(result.Message)
	}
	server := helper("logAndAnswer")
	server.Command = []string{"sh", "-c", `nohup "$0" & echo started`, server.Command[0]}
	if result := a.run(server); result.State != wire.Succeeded || !strings.HasPrefix(string(result.Stdout), "started\n") {
		t.Fatalf("got %+v", result)
	}
	for i := range 3 {
		question := fmt.Sprintf("question %d", i)
		result := a.run(wire.Step{Command: []string{"sh", "-c", "cat >in; cat out"}, Stdin: question})
		if got := string(result.Stdout); got != "answer to "+question {
			t.Fatalf("got %q", got)
		}
	}
}

// Each step that leaves something running costs two descriptors and a few
// goroutines, which go when the process goes.
func TestManyStepsThatLeaveSomethingRunning(t *testing.T) {
	a := newAgent(t, agent.Config{Execution: execution.Config{Linger: time.Millisecond}})
	const steps = 100
	a.run(command("true"))
	goroutines, descriptors := runtime.NumGoroutine(), openDescriptors(t)
	for range steps / 10 {
		many := make([]wire.Step, 10)
		for i := range many {
			many[i] = shell("until [ -e go ]; do sleep 0.1; done & echo $!")
		}
		if result := a.run(many...); result.State != wire.Succeeded {
			t.Fatal(result.Message)
		}
	}
	const slack = 20
	if got := runtime.NumGoroutine() - goroutines; got > 2*steps+slack {
		t.Errorf("%d goroutines for %d steps", got, steps)
	}
	if got := openDescriptors(t) - descriptors; got > 2*steps+slack {
		t.Errorf("%d descriptors for %d steps", got, steps)
	}
	if err := os.WriteFile(filepath.Join(a.dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of what was left", func() bool {
		return runtime.NumGoroutine() <= goroutines+slack && openDescriptors(t) <= descriptors+slack
	})
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// The end of the agent gives what steps left running the grace of their task.
func TestTheEndOfTheAgentGivesAGrace(t *testing.T) {
	dir := t.TempDir()
	t.Run("agent", func(t *testing.T) {
		a := newAgent(t, agent.Config{})
		a.dir = dir
		ex := a.execution(shell(`sh -c 'trap "sleep 1; touch saved; exit" TERM; touch ready; while :; do sleep 0.01; done' & until [ -e ready ]; do sleep 0.01; done`))
		ex.GraceMillis = millis(60_000)
		if result := a.runExecution(ex); result.State != wire.Succeeded {
			t.Fatal(result.Message)
		}
	})
	if _, err := os.Stat(filepath.Join(dir, "saved")); err != nil {
		t.Errorf("it was not given the time to save: %v", err)
	}
}
