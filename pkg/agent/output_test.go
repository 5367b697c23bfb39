package agent_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arl.io/arl/pkg/agent"
	"arl.io/arl/pkg/agent/client"
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

// What a pipeline writes right after the step's own process has ended belongs to
// the step, too, such as that of tee in "cmd > >(tee log)".
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

			kept, truncated, counted := result.Stdout, result.StdoutTruncated, []int64{result.StdoutBytes, result.Steps[1].StdoutBytes}
			if test.stream == wire.Stderr {
				kept, truncated, counted = result.Stderr, result.StderrTruncated, []int64{result.StderrBytes, result.Steps[1].StderrBytes}
			}
			if want := []int64{int64(test.size), int64(test.size)}; result.State != wire.Succeeded || !truncated || !slices.Equal(counted, want) {
				t.Errorf("state %s, truncated %v, %d bytes counted, want %d", result.State, truncated, counted, want)
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

// Output is bytes: what is no UTF-8 comes as it was written.
func TestOutputThatIsNoTextIsKeptExactly(t *testing.T) {
	a := newAgent(t, agent.Config{})
	result := a.run(shell(`printf '\377\000\303'; printf '\200' >&2`), shell(`printf '\244'`))
	if got := string(result.Stdout); got != "\xff\x00\xc3\xa4" || result.StdoutTruncated || result.StdoutBytes != 4 {
		t.Errorf("stdout %q, truncated %v, %d bytes", got, result.StdoutTruncated, result.StdoutBytes)
	}
	if got := string(result.Stderr); got != "\x80" || result.StderrTruncated || result.StderrBytes != 1 {
		t.Errorf("stderr %q, truncated %v, %d bytes", got, result.StderrTruncated, result.StderrBytes)
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

// Who wants to know which step runs need not take the output.
func TestStepsCanBeFollowedWithoutTheirOutput(t *testing.T) {
	a := newAgent(t, agent.Config{})
	var seen []string
	follow := func(event wire.Event) { seen = append(seen, fmt.Sprintf("%s %d", event.Type, event.Step)) }
	ex := a.execution(command("echo", "a"), command("echo", "b"))
	result, err := a.Run(a.context(), ex, follow, client.WithoutOutput)
	if err != nil || string(result.Stdout) != "a\nb\n" {
		t.Fatalf("got %+v, %v", result, err)
	}
	want := []string{"started 0", "stepStarted 0", "stepFinished 0", "stepStarted 1", "stepFinished 1", "finished 0"}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
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
