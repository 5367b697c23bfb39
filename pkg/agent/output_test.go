package agent_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"arl.io/arl/pkg/agent"
	"arl.io/arl/pkg/agent/execution"
	"arl.io/arl/pkg/agent/wire"
)

// The last system lost the output of one echo in eight: it did not read the
// pipes to their end.
func TestEveryEchoHasItsOutput(t *testing.T) {
	a := newAgent(t, agent.Config{})
	const workers, each = 4, 250
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for i := range each {
				text := fmt.Sprintf("%d/%d", worker, i)
				ex := a.execution(command("echo", text))
				result, err := a.Run(t.Context(), ex, nil)
				if err != nil || string(result.Stdout) != text+"\n" || result.State != wire.Succeeded {
					t.Errorf("%s: got %q, %v", text, result.Stdout, err)
				}
				if err := a.Forget(t.Context(), ex.ID); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

// What a pipeline writes after its last command has ended belongs to the step, too.
func TestOutputOfALateWriter(t *testing.T) {
	a := newAgent(t, agent.Config{Execution: execution.Config{Linger: patience}})
	result := a.run(shell("(sleep 0.02; echo late) & echo early"))
	if got := string(result.Stdout); got != "early\nlate\n" {
		t.Errorf("got %q", got)
	}
}

func TestLargeOutput(t *testing.T) {
	for _, test := range []struct {
		name   string
		size   int
		stream string
	}{
		{"a line of 300 KB", 300_000, wire.Stdout},
		{"2 MB", 2_000_000, wire.Stderr},
		{"50 MB", 50_000_000, wire.Stdout},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAgent(t, agent.Config{})
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			ex := a.execution(helper("spew", strconv.Itoa(test.size), test.stream))
			// Each run leaves a line behind: there must be one.
			ex.Steps = append([]wire.Step{{Name: "once", Type: wire.StepCommand, Command: []string{"sh", "-c", "echo x >>runs"}}}, ex.Steps...)
			result := a.runExecution(ex)
			runtime.GC()
			runtime.ReadMemStats(&after)

			kept, counted := result.Stdout, result.Steps[1].StdoutBytes
			if test.stream == wire.Stderr {
				kept, counted = result.Stderr, result.Steps[1].StderrBytes
			}
			if result.State != wire.Succeeded || counted != int64(test.size) {
				t.Errorf("state %s, %d bytes counted, want %d", result.State, counted, test.size)
			}
			missing := fmt.Sprintf("\n[... %d bytes are missing here ...]\n", test.size-(64<<10))
			if !bytes.Contains(kept, []byte(missing)) || len(kept) != 64<<10+len(missing) {
				t.Errorf("%d bytes kept, want head and tail with %q between", len(kept), missing)
			}
			if runs, err := os.ReadFile(filepath.Join(a.dir, "runs")); string(runs) != "x\n" {
				t.Errorf("runs: %q, %v", runs, err)
			}
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
				t.Errorf("memory has grown by %d bytes", grown)
			}
		})
	}
}

// A reader that keeps up sees every byte, whatever the size of the log.
func TestAReaderThatFollowsMissesNothing(t *testing.T) {
	a := newAgent(t, agent.Config{})
	const size = 20_000_000
	var next, total, seq int64
	result, err := a.Run(a.context(), a.execution(helper("spew", strconv.Itoa(size), wire.Stdout)), func(event wire.Event) {
		if event.Seq != seq+1 {
			t.Errorf("event %d follows %d", event.Seq, seq)
		}
		seq = event.Seq
		if event.Output == nil {
			return
		}
		if event.Output.Offset != next || len(event.Output.Data) > 32<<10 {
			t.Errorf("%d bytes at offset %d, want at most 32 KiB at %d", len(event.Output.Data), event.Output.Offset, next)
		}
		next += int64(len(event.Output.Data))
		total += int64(len(event.Output.Data))
	})
	if err != nil || result.State != wire.Succeeded || total != size {
		t.Errorf("read %d bytes, state %s, %v", total, result.State, err)
	}
}

// A step that writes no line break streams all the same.
func TestOutputStreamsBeforeTheStepEnds(t *testing.T) {
	a := newAgent(t, agent.Config{})
	goOn := filepath.Join(a.dir, "go-on")
	var types []string
	result, err := a.Run(a.context(), a.execution(helper("echoUntil", goOn)), func(event wire.Event) {
		types = append(types, string(event.Type))
		if event.Output != nil && string(event.Output.Data) == "ready" {
			if err := os.WriteFile(goOn, nil, 0o644); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil || result.State != wire.Succeeded {
		t.Fatal(result, err)
	}
	if got := strings.Join(types, " "); got != "started stepStarted output stepFinished finished" {
		t.Errorf("events: %s", got)
	}
}

func TestStdin(t *testing.T) {
	a := newAgent(t, agent.Config{})
	large := strings.Repeat("x", 3<<20)
	for _, test := range []struct {
		name, stdin string
		step        wire.Step
		want        string
	}{
		{"larger than a pipe", large, helper("count"), strconv.Itoa(len(large))},
		{"echoed while it is read", large, shell("cat | tail -c 3"), "xxx"},
		{"not wanted", large, command("echo", "no"), "no\n"},
		{"empty", "", helper("count"), "0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.step.Stdin = test.stdin
			result := a.run(test.step)
			if result.State != wire.Succeeded || string(result.Stdout) != test.want {
				t.Errorf("%s: got %q, want %q", result.Message, result.Stdout, test.want)
			}
		})
	}
}
