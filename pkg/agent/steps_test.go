package agent_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"arl.io/arl/pkg/agent"
	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/agent/wire"
)

// ignoreTimes leaves out what differs from run to run.
var ignoreTimes = cmp.Options{
	cmpopts.IgnoreFields(wire.StepResult{}, "StartTime", "DurationMicros"),
	cmpopts.IgnoreFields(wire.ExecutionResult{}, "DurationMicros"),
	cmpopts.EquateEmpty(),
}

func code(c int32) *int32 { return &c }

func millis(m int64) *int64 { return &m }

func step(name string, s wire.Step) wire.Step { s.Name = name; return s }

func content(path, text string) wire.Step {
	return wire.Step{Type: wire.StepFilePatch, Path: path, Content: &text}
}

func patch(path, diff string) wire.Step {
	return wire.Step{Type: wire.StepFilePatch, Path: path, Patch: &diff}
}

func mayFail(s wire.Step) wire.Step { s.ContinueOnFailure = true; return s }

var stepCases = []struct {
	name  string
	steps []wire.Step
	want  wire.ExecutionResult
}{{
	name: "files and commands share the directory",
	steps: []wire.Step{
		step("write", content("src/a.txt", "one\ntwo\n")),
		step("patch", patch("src/a.txt", "--- a/a\n+++ b/a\n@@ -1,2 +1,2 @@\n one\n-two\n+TWO\n")),
		step("show", command("cat", "src/a.txt")),
		step("here", wire.Step{Command: []string{"sh", "-c", "basename $PWD; echo $X-$Y"}, WorkDir: "sub/dir", Env: map[string]string{"X": "1", "Y": "2"}}),
		step("err", shell("echo oops >&2")),
	},
	want: wire.ExecutionResult{State: wire.Succeeded, ExitCode: code(0), Stdout: []byte("one\nTWO\ndir\n1-2\n"), Stderr: []byte("oops\n"), Steps: []wire.StepResult{
		{Name: "write", State: wire.Succeeded},
		{Name: "patch", State: wire.Succeeded},
		{Name: "show", State: wire.Succeeded, ExitCode: code(0), StdoutBytes: 8},
		{Name: "here", State: wire.Succeeded, ExitCode: code(0), StdoutBytes: 8},
		{Name: "err", State: wire.Succeeded, ExitCode: code(0), StderrBytes: 5},
	}},
}, {
	name:  "a failed step ends the execution",
	steps: []wire.Step{step("a", command("true")), step("b", shell("exit 42")), step("c", shell("touch never"))},
	want: wire.ExecutionResult{State: wire.Failed, Reason: wire.ReasonStepFailed, Message: `step "b": the command exited with code 42`, ExitCode: code(42), Steps: []wire.StepResult{
		{Name: "a", State: wire.Succeeded, ExitCode: code(0)},
		{Name: "b", State: wire.Failed, Reason: wire.ReasonStepFailed, Message: "the command exited with code 42", ExitCode: code(42)},
		{Name: "c", State: wire.Skipped},
	}},
}, {
	name:  "a step that may fail does not",
	steps: []wire.Step{step("a", mayFail(shell("exit 3"))), step("b", content("f", "x"))},
	want: wire.ExecutionResult{State: wire.Succeeded, ExitCode: code(3), Steps: []wire.StepResult{
		{Name: "a", State: wire.Failed, Reason: wire.ReasonStepFailed, Message: "the command exited with code 3", ExitCode: code(3)},
		{Name: "b", State: wire.Succeeded},
	}},
}, {
	name:  "ended by a signal",
	steps: []wire.Step{step("a", shell("kill -9 $$"))},
	want: wire.ExecutionResult{State: wire.Failed, Reason: wire.ReasonStepFailed, Message: `step "a": the command was ended by signal 9 (killed)`, ExitCode: code(137), Steps: []wire.StepResult{
		{Name: "a", State: wire.Failed, Reason: wire.ReasonStepFailed, Message: "the command was ended by signal 9 (killed)", ExitCode: code(137)},
	}},
}, {
	name:  "no such command",
	steps: []wire.Step{step("a", wire.Step{Command: []string{"no-such-program"}, Env: map[string]string{"PATH": "/nowhere"}})},
	want: wire.ExecutionResult{State: wire.Failed, Reason: wire.ReasonStepFailed, Message: `step "a": no-such-program: command not found in PATH (/nowhere)`, ExitCode: code(127), Steps: []wire.StepResult{
		{Name: "a", State: wire.Failed, Reason: wire.ReasonStepFailed, Message: "no-such-program: command not found in PATH (/nowhere)", ExitCode: code(127)},
	}},
}, {
	name:  "not executable",
	steps: []wire.Step{step("a", content("tool", "#!/bin/sh\n")), step("b", command("./tool"))},
	want: wire.ExecutionResult{State: wire.Failed, Reason: wire.ReasonStepFailed, Message: `step "b": ./tool: permission denied; is it executable?`, ExitCode: code(126), Steps: []wire.StepResult{
		{Name: "a", State: wire.Succeeded},
		{Name: "b", State: wire.Failed, Reason: wire.ReasonStepFailed, Message: "./tool: permission denied; is it executable?", ExitCode: code(126)},
	}},
}, {
	name:  "a patch that does not fit",
	steps: []wire.Step{step("a", content("f", "x\n")), step("b", patch("f", "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-y\n+z\n"))},
	want: wire.ExecutionResult{State: wire.Failed, Reason: wire.ReasonStepFailed, Message: `step "b": DIR/f: hunk 1 of 1 (@@ -1 +1 @@) does not apply: line 1: expected "y", found "x"`, Steps: []wire.StepResult{
		{Name: "a", State: wire.Succeeded},
		{Name: "b", State: wire.Failed, Reason: wire.ReasonStepFailed, Message: `DIR/f: hunk 1 of 1 (@@ -1 +1 @@) does not apply: line 1: expected "y", found "x"`},
	}},
}, {
	name: "a patch that is moved",
	steps: []wire.Step{
		step("a", content("f", "1\n2\n3\nx\n5\n")),
		step("b", patch("f", "--- a/f\n+++ b/f\n@@ -2,3 +2,3 @@\n 3\n-x\n+y\n 5\n")),
		step("c", patch(".", "--- a/f\n+++ b/f\n@@ -3,3 +3,3 @@\n 3\n-y\n+z\n 5\n")),
	},
	want: wire.ExecutionResult{State: wire.Succeeded, Steps: []wire.StepResult{
		{Name: "a", State: wire.Succeeded},
		{Name: "b", State: wire.Succeeded, Message: "DIR/f: hunk 1 of 1 (@@ -2,3 +2,3 @@) moved +1 lines to line 3"},
		{Name: "c", State: wire.Succeeded, Message: "files changed: 1, created: 0, deleted: 0"},
	}},
}}

func TestSteps(t *testing.T) {
	a := newAgent(t, agent.Config{})
	for _, test := range stepCases {
		t.Run(test.name, func(t *testing.T) {
			a := &testAgent{Client: a.Client, t: t, dir: t.TempDir()}
			got := a.run(test.steps...)
			got.Message = strings.ReplaceAll(got.Message, a.dir, "DIR")
			for i := range got.Steps {
				got.Steps[i].Message = strings.ReplaceAll(got.Steps[i].Message, a.dir, "DIR")
			}
			test.want.StdoutBytes, test.want.StderrBytes = int64(len(test.want.Stdout)), int64(len(test.want.Stderr))
			if diff := cmp.Diff(test.want, got, ignoreTimes); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
			if _, err := os.Stat(filepath.Join(a.dir, "never")); err == nil {
				t.Error("a step ran that must not")
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("FROM_IMAGE", "image")
	t.Setenv("BOTH", "image")
	t.Setenv("ARL_SECRET", "secret")
	a := newAgent(t, agent.Config{})
	ex := a.execution(wire.Step{Command: []string{"sh", "-c", "echo $FROM_IMAGE $BOTH $TASK $STEP [$ARL_SECRET] $ARL_EXECUTION_ID"}, Env: map[string]string{"STEP": "step", "BOTH": "step"}})
	ex.Env = map[string]string{"TASK": "task", "STEP": "task", "BOTH": "task"}
	got := string(a.runExecution(ex).Stdout)
	if want := "image step task step [] " + ex.ID + "\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestInvalidExecutionsAreRefused(t *testing.T) {
	a := newAgent(t, agent.Config{})
	text := "x"
	for name, spoil := range map[string]func(*wire.Execution){
		"no ID":              func(ex *wire.Execution) { ex.ID = "" },
		"ID with a slash":    func(ex *wire.Execution) { ex.ID = "a/b" },
		"ID too long":        func(ex *wire.Execution) { ex.ID = strings.Repeat("a", 129) },
		"no steps":           func(ex *wire.Execution) { ex.Steps = nil },
		"relative workDir":   func(ex *wire.Execution) { ex.WorkDir = "a" },
		"unknown type":       func(ex *wire.Execution) { ex.Steps[0].Type = "Other" },
		"no command":         func(ex *wire.Execution) { ex.Steps[0].Command = nil },
		"NUL in an argument": func(ex *wire.Execution) { ex.Steps[0].Command = []string{"a", "b\x00"} },
		"variable with =":    func(ex *wire.Execution) { ex.Env = map[string]string{"a=b": "c"} },
		"negative timeout":   func(ex *wire.Execution) { ex.TimeoutMillis = -1 },
		"negative grace":     func(ex *wire.Execution) { ex.GraceMillis = millis(-1) },
		"long grace":         func(ex *wire.Execution) { ex.GraceMillis = millis(wire.MaxGraceMillis + 1) },
		"large output limit": func(ex *wire.Execution) { ex.OutputLimitBytes = 2 << 20 },
		"file without path":  func(ex *wire.Execution) { ex.Steps[0] = wire.Step{Type: wire.StepFilePatch, Content: &text} },
		"file with two contents": func(ex *wire.Execution) {
			ex.Steps[0] = wire.Step{Type: wire.StepFilePatch, Path: "a", Content: &text, Patch: &text}
		},
		"file without a content": func(ex *wire.Execution) { ex.Steps[0] = wire.Step{Type: wire.StepFilePatch, Path: "a"} },
		"file with a wrong mode": func(ex *wire.Execution) {
			ex.Steps[0] = wire.Step{Type: wire.StepFilePatch, Path: "a", Content: &text, Mode: code(0o1000)}
		},
		"a body that is too large": func(ex *wire.Execution) { ex.Steps[0].Stdin = strings.Repeat("x", 17<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			ex := a.execution(command("true"))
			spoil(&ex)
			_, err := a.Run(a.context(), ex, nil)
			if !errors.Is(err, client.ErrInvalid) {
				t.Errorf("got %v, want ErrInvalid", err)
			}
		})
	}
	if health, err := a.Health(t.Context()); err != nil || health.Used {
		t.Errorf("something was begun: %+v, %v", health, err)
	}
}
