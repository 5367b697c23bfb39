package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// runShell runs a script in dir to its end, or until a file "stop" is there if stopped is set.
func runShell(t *testing.T, supervisor *Supervisor, dir, script string, stopped bool) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if stopped {
		script += "; touch stop; sleep 300"
		go func() {
			defer cancel()
			for ctx.Err() == nil {
				if os.Remove(filepath.Join(dir, "stop")) == nil {
					return
				}
				time.Sleep(time.Millisecond)
			}
		}()
	}
	result, err := supervisor.Run(ctx, Command{
		ID: "id", Dir: dir, Env: os.Environ(), Args: []string{"sh", "-c", script},
		Stdout: func([]byte) {}, Stderr: func([]byte) {}, Linger: time.Millisecond, Grace: time.Minute,
	})
	if err != nil || result.Stopped != stopped {
		t.Fatalf("%s: %+v, %v", script, result, err)
	}
	return result
}

// readPID returns the process ID in a file.
func readPID(t *testing.T, file string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func there(pid int) bool {
	_, ok := readEntry(pid)
	return ok
}

// leaveUnmarked leaves a process that has a session of its own, no mark and no parent.
func leaveUnmarked(file string) string {
	return fmt.Sprintf("(env -i setsid sh -c 'echo $$ >%[1]s.new; mv %[1]s.new %[1]s; exec sleep 300' &); until [ -s %[1]s ]; do sleep 0.01; done", file)
}

// leave leaves a process with a mark in a session of its own.
func leave(file string) string {
	return fmt.Sprintf("(setsid sh -c 'echo $$ >%[1]s.new; mv %[1]s.new %[1]s; exec sleep 300' &); until [ -s %[1]s ]; do sleep 0.01; done", file)
}

// While a command is alone, even a process without any trace of its origin is ended with it.
func TestExclusive(t *testing.T) {
	for _, exclusive := range []bool{true, false} {
		t.Run(fmt.Sprint(exclusive), func(t *testing.T) {
			supervisor, dir := newSupervisor(t, Config{Exclusive: exclusive}), t.TempDir()
			runShell(t, supervisor, dir, leaveUnmarked("pid"), true)
			if left := there(readPID(t, filepath.Join(dir, "pid"))); left == exclusive {
				t.Errorf("still there: %v", left)
			}
			supervisor.EndLeft()
			eventually(t, "the end of all children", childless)
		})
	}
}

// What a command left running when it ended by itself is not ended with a later
// one, even if nothing shows where it came from.
func TestALaterCommandDoesNotEndWhatAnEarlierOneLeft(t *testing.T) {
	for _, exclusive := range []bool{true, false} {
		t.Run(fmt.Sprint(exclusive), func(t *testing.T) {
			supervisor, dir := newSupervisor(t, Config{Exclusive: exclusive}), t.TempDir()
			runShell(t, supervisor, dir, leave("marked")+"; "+leaveUnmarked("unmarked"), false)
			runShell(t, supervisor, dir, leave("own"), true)
			for file, want := range map[string]bool{"marked": true, "unmarked": true, "own": false} {
				if got := there(readPID(t, filepath.Join(dir, file))); got != want {
					t.Errorf("%s: alive %v, want %v", file, got, want)
				}
			}
			supervisor.EndLeft()
			eventually(t, "the end of all children", childless)
		})
	}
}

// EndLeft gives each process the grace of the command that left it, does not
// disturb what a process starts when it hears the TERM, and kills one that ignores it.
func TestEndLeft(t *testing.T) {
	supervisor, dir := newSupervisor(t, Config{}), t.TempDir()
	running, err := supervisor.Start(exec.Command("sleep", "300"), "running", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for file, grace := range map[string]time.Duration{"saves": time.Minute, "deaf": 300 * time.Millisecond, "stopped": time.Minute, "none": 0} {
		script := map[string]string{
			"saves":   `trap "sleep 1; touch saved; exit" TERM; echo $$ >saves; while :; do sleep 0.01; done`,
			"deaf":    `trap "" TERM; echo $$ >deaf; while :; do sleep 0.01; done`,
			"stopped": `echo $$ >stopped; kill -STOP $$`,
			"none":    `trap "touch heard" TERM; echo $$ >none; while :; do sleep 0.01; done`,
		}[file]
		_, err := supervisor.Run(t.Context(), Command{
			ID: file, Dir: dir, Env: os.Environ(), Stdout: func([]byte) {}, Stderr: func([]byte) {}, Grace: grace,
			Args: []string{"sh", "-c", fmt.Sprintf("(setsid sh -c '%s' &); until [ -s %s ]; do sleep 0.01; done", script, file)},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	supervisor.EndLeft()
	for _, file := range []string{"saves", "deaf", "stopped", "none"} {
		if pid := readPID(t, filepath.Join(dir, file)); there(pid) {
			t.Errorf("%s is still there", file)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "saved")); err != nil {
		t.Errorf("what a handler of TERM does was cut off: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "heard")); err == nil {
		t.Error("a process without a grace got a TERM")
	}
	if running.ended() {
		t.Error("a command that runs was ended")
	}
	running.Stop(0)
	if running.Signal() != unix.SIGKILL {
		t.Errorf("without a grace: signal %d", running.Signal())
	}
	eventually(t, "the end of all children", childless)
}

// What is left running writes as much as it likes. Its pipe is closed with its end.
func TestOutputOfWhatIsLeftIsDiscarded(t *testing.T) {
	supervisor, dir := newSupervisor(t, Config{}), t.TempDir()
	runShell(t, supervisor, dir, "(head -c 3000000 /dev/zero && touch written; until [ -e go ]; do sleep 0.01; done) &", false)
	eventually(t, "three million bytes", func() bool {
		_, err := os.Stat(filepath.Join(dir, "written"))
		return err == nil
	})
	if supervisor.drains.len() != 2 {
		t.Errorf("%d pipes are held, want 2", supervisor.drains.len())
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the pipes", func() bool { return supervisor.drains.len() == 0 })
	eventually(t, "the end of all children", childless)
}

// Close ends although pipes are held, even by a process that never stops writing.
func TestCloseDoesNotWaitForHolders(t *testing.T) {
	supervisor, dir := newSupervisor(t, Config{}), t.TempDir()
	runShell(t, supervisor, dir, "yes & sleep 300 &", false)
	supervisor.Close()
	supervisor.EndLeft()
	eventually(t, "the end of all children", childless)
}
