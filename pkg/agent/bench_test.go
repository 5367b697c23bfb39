package agent_test

import (
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"arl.io/arl/pkg/agent"
	"arl.io/arl/pkg/agent/wire"
)

// BenchmarkEcho measures an execution of one command, from the post to the
// outcome at the client. Beside it, the cost of fork and exec alone is BenchmarkForkExec.
func BenchmarkEcho(b *testing.B) {
	for name, main := range map[string][]string{"alone": nil, "beside a main command": {"sleep", "3600"}} {
		b.Run(name, func(b *testing.B) {
			a := newAgent(b, agent.Config{Main: main})
			measure(b, func() {
				ex := a.execution(command("/bin/echo", "x"))
				result, err := a.Run(b.Context(), ex, nil)
				if err != nil || result.State != wire.Succeeded {
					b.Fatal(result, err)
				}
				if err := a.Forget(b.Context(), ex.ID); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

// BenchmarkHealth measures a probe of an agent: how long it takes, and the processor time of both sides
// together.
func BenchmarkHealth(b *testing.B) {
	a := newAgent(b, agent.Config{})
	before := processorTime(b)
	measure(b, func() {
		if _, err := a.Health(b.Context()); err != nil {
			b.Fatal(err)
		}
	})
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

// processorTime returns what this process has used.
func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func BenchmarkForkExec(b *testing.B) {
	measure(b, func() {
		if _, err := exec.Command("/bin/echo", "x").Output(); err != nil {
			b.Fatal(err)
		}
	})
}

// measure runs one over and over and reports how its durations are spread.
func measure(b *testing.B, one func()) {
	var took []time.Duration
	for b.Loop() {
		begin := time.Now()
		one()
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
