package process

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A command ends although another process holds its output open and writes to
// it all the time, and what it wrote is there.
func TestAHeldPipeHoldsUpNothing(t *testing.T) {
	supervisor := newSupervisor(t, Config{})
	dir := t.TempDir()
	holder, err := supervisor.Start(&exec.Cmd{
		Path: "/bin/sh",
		Dir:  dir,
		Args: []string{"sh", "-c", "until [ -s pid ]; do sleep 0.01; done; exec 3>/proc/$(cat pid)/fd/1; touch held; yes >&3 & exec sleep 300"},
	}, "holder", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	const linger = 100 * time.Millisecond
	var out []byte
	result, err := supervisor.Run(t.Context(), Command{
		ID: "id", Dir: dir, Env: os.Environ(), Stderr: func([]byte) {},
		Args:   []string{"sh", "-c", "echo $$ >new; mv new pid; until [ -e held ]; do sleep 0.01; done; printf 'one\\ntwo\\n'"},
		Linger: linger,
		// So slow that the deadline has passed before all was read.
		Stdout: func(data []byte) {
			out = append(out, data...)
			time.Sleep(2 * linger)
		},
	})
	if err != nil || result.ExitCode != 0 || !strings.Contains(string(out), "one\ntwo\n") {
		t.Errorf("got %d bytes that begin with %.40q, %+v, %v", len(out), out, result, err)
	}
	if holder.ended() {
		t.Error("the holder was ended, which is another command")
	}
	holder.Stop(time.Millisecond)
	eventually(t, "the end of all children", childless)
}

// Stop ends a process that is stopped and one that does not listen.
func TestStop(t *testing.T) {
	for name, script := range map[string]string{
		"obeys":   "exec sleep 300",
		"stopped": "kill -STOP $$",
		"deaf":    "trap '' TERM; while :; do sleep 0.01; done",
	} {
		t.Run(name, func(t *testing.T) {
			supervisor := newSupervisor(t, Config{})
			process, err := supervisor.Start(exec.Command("sh", "-c", script), "id", time.Second)
			if err != nil {
				t.Fatal(err)
			}
			process.Stop(50 * time.Millisecond)
			if !process.ended() || process.Signal() == 0 {
				t.Errorf("ended %v by signal %d", process.ended(), process.Signal())
			}
			eventually(t, "the end of all children", childless)
		})
	}
}
