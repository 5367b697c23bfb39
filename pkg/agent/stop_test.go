package agent_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"arl.io/arl/pkg/agent"
	"arl.io/arl/pkg/agent/execution"
	"arl.io/arl/pkg/agent/wire"
)

// pids are the process IDs that helpers wrote.
func pids(t *testing.T, result wire.ExecutionResult, want int) []string {
	t.Helper()
	found := strings.Fields(string(result.Stdout))
	if len(found) != want {
		t.Fatalf("%d processes told their ID, want %d: %q", len(found), want, found)
	}
	return found
}

func TestATimeoutEndsTheWholeFamily(t *testing.T) {
	for _, test := range []struct {
		name  string
		bound func(*wire.Execution)
		want  string
	}{
		{"the step's", func(ex *wire.Execution) { ex.Steps[0].TimeoutMillis = 2000 }, "the step ran longer than its timeout of 2s"},
		{"the execution's", func(ex *wire.Execution) { ex.TimeoutMillis = 2000 }, "the execution ran longer than its timeout of 2s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAgent(t, agent.Config{})
			ex := a.execution(helper("family"), command("true"))
			test.bound(&ex)
			result := a.runExecution(ex)
			if result.Reason != wire.ReasonTimeout || !strings.HasSuffix(result.Message, test.want) {
				t.Errorf("reason %s: %s", result.Reason, result.Message)
			}
			if got := result.Steps[0]; got.Reason != wire.ReasonTimeout || *got.ExitCode != 143 {
				t.Errorf("step: %+v", got)
			}
			if result.Steps[1].State != wire.Skipped {
				t.Errorf("the second step: %s", result.Steps[1].State)
			}
			for _, pid := range pids(t, result, 4) {
				if alive(pid) {
					t.Errorf("process %s is still there", pid)
				}
			}
		})
	}
}

func TestSleepEndsSoonAfterItsTimeout(t *testing.T) {
	a := newAgent(t, agent.Config{})
	bounded := shell("sleep 30 & sleep 30")
	bounded.TimeoutMillis = 1000
	result := a.run(bounded)
	if took := time.Duration(result.DurationMicros) * time.Microsecond; took > 2*time.Second || result.Reason != wire.ReasonTimeout {
		t.Errorf("%s after %s", result.Reason, took)
	}
}

func TestAStepThatMayFailMayTimeOut(t *testing.T) {
	a := newAgent(t, agent.Config{})
	slow := mayFail(command("sleep", "30"))
	slow.TimeoutMillis = 50
	result := a.run(slow, command("echo", "on"))
	if result.State != wire.Succeeded || string(result.Stdout) != "on\n" || result.Steps[0].Reason != wire.ReasonTimeout {
		t.Errorf("got %+v", result)
	}
}

func TestCancel(t *testing.T) {
	a := newAgent(t, agent.Config{})
	ex := a.execution(mayFail(helper("family")), command("true"))
	seen := 0
	result, err := a.Run(a.context(), ex, func(event wire.Event) {
		if event.Output == nil {
			return
		}
		// All four have told their ID.
		if seen += strings.Count(string(event.Output.Data), "\n"); seen == 4 {
			if err := a.Cancel(context.Background(), ex.ID, wire.CancelRequest{Message: "not wanted"}); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if result.Reason != wire.ReasonCancelled || result.Message != "not wanted" || result.Steps[1].State != wire.Skipped {
		t.Errorf("got %+v", result)
	}
	for _, pid := range pids(t, result, 4) {
		if alive(pid) {
			t.Errorf("process %s is still there", pid)
		}
	}
	if err := a.Cancel(context.Background(), ex.ID, wire.CancelRequest{}); err != nil {
		t.Errorf("a second cancel: %v", err)
	}
}

// A grace is long enough to save something, or none at all.
func TestGrace(t *testing.T) {
	for _, test := range []struct {
		name   string
		grace  *int64
		script string
		code   int32
		stdout string
	}{
		{"saves", millis(60_000), `trap 'sleep 1; echo saved; exit 3' TERM; echo ready; while :; do sleep 0.01; done`, 3, "ready\nsaved\n"},
		{"ignores", millis(100), `trap '' TERM; echo ready; while :; do sleep 0.01; done`, 137, "ready\n"},
		{"none", millis(0), `trap 'echo heard' TERM; echo ready; while :; do sleep 0.01; done`, 137, "ready\n"},
		{"by default", nil, `trap 'sleep 0.6; echo saved; exit 3' TERM; echo ready; while :; do sleep 0.01; done`, 3, "ready\nsaved\n"},
	} {
		for _, by := range []string{"cancel", "timeout"} {
			t.Run(test.name+" on "+by, func(t *testing.T) {
				a := newAgent(t, agent.Config{})
				ex := a.execution(shell(test.script))
				ex.GraceMillis = test.grace
				if by == "timeout" {
					ex.TimeoutMillis = 1000
				}
				result, err := a.Run(a.context(), ex, func(event wire.Event) {
					if event.Output != nil && by == "cancel" {
						if err := a.Cancel(context.Background(), ex.ID, wire.CancelRequest{}); err != nil {
							t.Error(err)
						}
					}
				})
				if err != nil || result.ExitCode == nil || *result.ExitCode != test.code || string(result.Stdout) != test.stdout {
					t.Errorf("got %+v, %v, stdout %q", result, err, result.Stdout)
				}
			})
		}
	}
}

// The orphans of one execution are no business of another's.
func TestExecutionsKeepToTheirOwn(t *testing.T) {
	a := newAgent(t, agent.Config{Main: []string{"sleep", "300"}, Execution: execution.Config{Grace: 100 * time.Millisecond}})
	long := a.execution(helper("family"))
	told := make(chan string, 8)
	done := make(chan wire.ExecutionResult, 1)
	go func() {
		result, err := a.Run(context.Background(), long, func(event wire.Event) {
			if event.Output != nil {
				told <- string(event.Output.Data)
			}
		})
		if err != nil {
			t.Error(err)
		}
		done <- result
	}()
	var family []string
	for len(family) < 4 {
		family = append(family, strings.Fields(<-told)...)
	}
	for range 5 {
		bounded := helper("family")
		bounded.TimeoutMillis = 100
		a.run(bounded)
		a.run(shell("sleep 300 &"))
	}
	for _, pid := range family {
		if !alive(pid) {
			t.Errorf("process %s of another execution was ended", pid)
		}
	}
	if health, err := a.Health(t.Context()); err != nil || health.Main == nil || !health.Main.Running {
		t.Errorf("health: %+v, %v", health, err)
	}
	if err := a.Cancel(context.Background(), long.ID, wire.CancelRequest{}); err != nil {
		t.Error(err)
	}
	<-done
}

func TestMainCommand(t *testing.T) {
	for _, test := range []struct {
		name string
		main []string
		want wire.MainStatus
	}{
		{"exits", []string{"sh", "-c", "exit 7"}, wire.MainStatus{ExitCode: 7}},
		{"is missing", []string{"/no/such/program"}, wire.MainStatus{ExitCode: 127, Error: "/no/such/program: no such file"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAgent(t, agent.Config{Main: test.main, PodUID: "u", Version: "v"})
			eventually(t, "the end of the command", func() bool {
				health, err := a.Health(t.Context())
				return err == nil && health.PodUID == "u" && health.Version == "v" && *health.Main == test.want
			})
			if result := a.run(command("echo", "x")); result.State != wire.Succeeded {
				t.Errorf("steps do not run: %+v", result)
			}
		})
	}
}

// A step stops as soon as its patience ends, though nobody reads its output.
func TestATimeoutDoesNotWaitForAReader(t *testing.T) {
	a := newAgent(t, agent.Config{})
	ex := a.execution(command("sh", "-c", "yes"))
	ex.TimeoutMillis = 300
	block := make(chan struct{})
	attached := make(chan struct{})
	go func() {
		defer close(attached)
		ctx, cancel := context.WithCancel(context.Background())
		_, err := a.Run(ctx, ex, func(event wire.Event) {
			if event.Output != nil {
				<-block
				cancel()
			}
		})
		if err == nil {
			t.Error("the blocked reader saw the end")
		}
	}()
	a.awaitBegun(ex.ID)
	result, err := a.Attach(a.context(), ex.ID, 1, nil)
	if err != nil || result.Reason != wire.ReasonTimeout {
		t.Errorf("got %s, %v", result.Reason, err)
	}
	close(block)
	<-attached
}
