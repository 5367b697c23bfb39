package integration

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestTraceIDIsInTheLog has a task with a trace ID: what the server logs about the task carries it, so
// that its lines are found from the caller's trace. Another task's lines do not.
func TestTraceIDIsInTheLog(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--v=4")
	n := tenantIn(t, s, "default")
	n.FillPool(hostPool("pool", 1))
	n.ReadySandbox("box", "pool")
	traced := taskIn("box", "traced", shell("s", "true"))
	traced.Spec.TraceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	n.Succeed(traced)
	n.Succeed(taskIn("box", "plain", shell("s", "true")))
	waits.Eventually(t, "lines about both tasks", func(context.Context) error {
		text, err := os.ReadFile(s.LogFile())
		if err != nil {
			return err
		}
		about := map[string]int{}
		for line := range strings.Lines(string(text)) {
			for _, name := range []string{"traced", "plain"} {
				if !strings.Contains(line, `task="default/`+name+`"`) {
					continue
				}
				about[name]++
				if has := strings.Contains(line, fmt.Sprintf("traceID=%q", traced.Spec.TraceID)); has != (name == "traced") {
					return fmt.Errorf("the line has a trace ID: %v: %s", has, line)
				}
			}
		}
		if about["traced"] == 0 || about["plain"] == 0 {
			return fmt.Errorf("lines: %v", about)
		}
		return nil
	})
}
