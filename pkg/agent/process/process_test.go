package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// newSupervisor returns one that reaps until the end of the test.
func newSupervisor(t *testing.T, config Config) *Supervisor {
	t.Helper()
	config.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	supervisor, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	reaped := make(chan struct{})
	go func() {
		defer close(reaped)
		supervisor.Reap(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-reaped
	})
	return supervisor
}

// A naive reaper takes the exit status of one command in fifty.
func TestReapingStealsNoStatus(t *testing.T) {
	supervisor := newSupervisor(t, Config{})
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for i := range 50 {
				want := int32(worker*8+i%8) + 1
				// Each leaves an orphan that dies at about the same time.
				script := fmt.Sprintf("(true &) ; exit %d", want)
				result, err := supervisor.Run(t.Context(), Command{
					ID: fmt.Sprint(worker), Args: []string{"sh", "-c", script}, Dir: "/",
					Stdout: func([]byte) {}, Stderr: func([]byte) {},
				})
				if err != nil || result.ExitCode != want {
					t.Errorf("exit code %d, want %d, %v", result.ExitCode, want, err)
				}
			}
		})
	}
	group.Wait()
	eventually(t, "the end of all children", childless)
}

func TestOrphansAreReaped(t *testing.T) {
	supervisor := newSupervisor(t, Config{})
	process, err := supervisor.Start(exec.Command("sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do (true & true) & done; sleep 0.05"), "id", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	<-process.Done()
	eventually(t, "the end of all children", childless)
}

func TestLookUp(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"bin/tool": 0o755, "bin/data": 0o644, "other/data": 0o755, "script": 0o755} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/nowhere\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	path := "PATH=" + dir + "/bin:" + dir + "/other"
	for _, test := range []struct {
		name, file, path string
		want             string
		code             int32
	}{
		{"in PATH", "tool", path, "bin/tool", 0},
		{"the first that can be run", "data", path, "other/data", 0},
		{"only one that cannot be run", "data", "PATH=" + dir + "/bin", "", CodeNotExecutable},
		{"nowhere", "none", path, "", CodeNotFound},
		{"PATH relative to the directory", "tool", "PATH=bin", "bin/tool", 0},
		{"the last PATH counts", "tool", path + "\x00PATH=/nowhere", "", CodeNotFound},
		{"relative", "./script", path, "script", 0},
		{"absolute", dir + "/script", "", "script", 0},
		{"relative and missing", "./none", path, "", CodeNotFound},
		{"below a file", "./script/x", path, "", CodeNotFound},
		{"a directory", "./bin", path, "", CodeNotExecutable},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := lookUp(test.file, dir, strings.Split(test.path, "\x00"))
			if test.code != 0 {
				var start *StartError
				if !errors.As(err, &start) || start.ExitCode != test.code {
					t.Errorf("got %s, %v, want code %d", got, err, test.code)
				}
				return
			}
			if want := filepath.Join(dir, test.want); err != nil || got != want {
				t.Errorf("got %s, want %s, %v", got, want, err)
			}
		})
	}
}

func TestStartErrors(t *testing.T) {
	supervisor := newSupervisor(t, Config{})
	dir := t.TempDir()
	for name, content := range map[string]string{"interpreter": "#!/no/such/interpreter\n", "format": "no program\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name string
		args []string
		want StartError
	}{
		{"no interpreter", []string{"./interpreter"}, StartError{ExitCode: CodeNotFound, Message: "./interpreter: its interpreter or dynamic loader is not in the image"}},
		{"no program", []string{"./format"}, StartError{ExitCode: CodeNotExecutable, Message: "./format: exec format error; a script needs a #! line, a program the machine's architecture"}},
		{"a long argument", []string{"/bin/true", strings.Repeat("x", 1<<20)}, StartError{Invalid: true,
			Message: "/bin/true: argument 1 has 1048576 bytes, of which the kernel takes 131071 at most; pass the data as standard input or in a file"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := supervisor.Run(t.Context(), Command{ID: "id", Args: test.args, Dir: dir})
			var start *StartError
			if !errors.As(err, &start) || *start != test.want {
				t.Errorf("got %+v", err)
			}
		})
	}
}

func TestParseStat(t *testing.T) {
	line := "12 (a) b) c) S 7 9 11 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1000 1 18446744073709551615\n"
	got, state, err := parseStat([]byte(line))
	if want := (entry{parent: 7, group: 9, start: 4242}); err != nil || got != want || state != 'S' {
		t.Errorf("got %+v, %c, %v", got, state, err)
	}
	for _, bad := range []string{"", "12 a S 7", "12 (a) S 7 9", "12 (a) SS" + line[13:], strings.Replace(line, " 7 9 ", " x 9 ", 1)} {
		if _, _, err := parseStat([]byte(bad)); !errors.Is(err, errStat) {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// A process that asks to be traced by its parent stops at its first signal. It must not be left behind.
func TestAProcessThatAsksToBeTracedIsEnded(t *testing.T) {
	supervisor := newSupervisor(t, Config{})
	process, err := supervisor.Start(&exec.Cmd{
		Path: "/bin/sh", Args: []string{"sh", "-c", "exec sleep 300"}, SysProcAttr: &syscall.SysProcAttr{Ptrace: true},
	}, "id", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-process.Done():
	case <-time.After(time.Minute):
		t.Fatal("its end is not noticed")
	}
	if process.Signal() != syscall.SIGTRAP || process.ExitCode() != 128+int32(syscall.SIGTRAP) {
		t.Errorf("signal %d, exit code %d", process.Signal(), process.ExitCode())
	}
	eventually(t, "the end of all children", childless)
}
