package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"arl.io/arl/pkg/agent/wire"
)

// TestStepsAreEndedBeforeTheAgent reads by how much the kernel prefers steps, the template's command
// and what they start to the agent when memory runs out.
func TestStepsAreEndedBeforeTheAgent(t *testing.T) {
	s := startServing(t, nil, "--", "sleep", "3600")
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	score, err := strconv.Atoi(strings.TrimSpace(string(own)))
	if err != nil {
		t.Fatal(err)
	}
	if score >= 1000 {
		t.Skip("nothing can have a higher score than this process")
	}
	// The score is raised right after the start, so a process may still see the old one.
	result := s.run(fmt.Sprintf(`await() { until [ "$(cat $1)" = %d ]; do sleep 0.01; done; }
		sleep 3600 & child=$!
		await /proc/$$/oom_score_adj
		await /proc/$child/oom_score_adj
		for main in $(cat /proc/$PPID/task/$PPID/children); do await /proc/$main/oom_score_adj; done
		sh -c 'cat /proc/self/oom_score_adj'
		kill $child`, min(score+500, 1000)))
	if want := fmt.Sprintln(min(score+500, 1000)); result.State != wire.Succeeded || string(result.Stdout) != want {
		t.Errorf("%s: %s%s, want %s", result.Message, result.Stdout, result.Stderr, want)
	}
	if now, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", s.cmd.Process.Pid)); err != nil || string(now) != string(own) {
		t.Errorf("the agent's own score is %q, %v, and was %q", now, err, own)
	}
}
