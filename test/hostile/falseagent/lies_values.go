package falseagent

import (
	"math"
	"strings"
	"time"

	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/agent/wire"
)

// Lies in the values of a result that has the right form.
var _ = register(map[string]lie{
	"duration-max": finishWith(func(r *wire.ExecutionResult) {
		r.DurationMicros = math.MaxInt64
		for i := range r.Steps {
			r.Steps[i].DurationMicros = math.MaxInt64
		}
	}),
	"duration-negative": finishWith(func(r *wire.ExecutionResult) {
		r.DurationMicros = math.MinInt64
		for i := range r.Steps {
			r.Steps[i].DurationMicros = -1
		}
	}),
	// The largest year that the agent's JSON can say; in a zone west of Greenwich it is the year 10000.
	"start-year-10000": finishRaw(`{"state":"Succeeded","durationMicros":1,"steps":[{"name":"echo","state":"Succeeded","exitCode":0,` +
		`"startTime":"9999-12-31T23:59:59-23:59","durationMicros":1}]}`),
	"start-year-minus-1": finishRaw(`{"state":"Succeeded","durationMicros":1,"steps":[{"name":"echo","state":"Succeeded","exitCode":0,` +
		`"startTime":"0000-01-01T00:00:00+23:59","durationMicros":1}]}`),
	"start-in-a-century": finishWith(func(r *wire.ExecutionResult) {
		for i := range r.Steps {
			r.Steps[i].StartTime = time.Now().AddDate(100, 0, 0)
		}
	}),
	"bytes-negative": finishWith(func(r *wire.ExecutionResult) {
		r.StdoutBytes, r.StderrBytes = math.MinInt64, -1
		for i := range r.Steps {
			r.Steps[i].StdoutBytes, r.Steps[i].StderrBytes = -1, math.MinInt64
		}
	}),
	"bytes-max": finishWith(func(r *wire.ExecutionResult) {
		r.StdoutBytes, r.StderrBytes = math.MaxInt64, math.MaxInt64
		for i := range r.Steps {
			r.Steps[i].StdoutBytes, r.Steps[i].StderrBytes = math.MaxInt64, math.MaxInt64
		}
	}),
	"exit-code-odd": finishWith(func(r *wire.ExecutionResult) {
		r.ExitCode = ptr.To[int32](math.MinInt32)
		for i := range r.Steps {
			r.Steps[i].ExitCode = ptr.To[int32](math.MaxInt32)
		}
	}),
	"state-unknown": finishWith(func(r *wire.ExecutionResult) {
		r.State, r.Reason = "Exploded", "not a\x00reason"
		for i := range r.Steps {
			r.Steps[i].State, r.Steps[i].Reason = "Running?", "\n"
		}
	}),
	"state-empty": finishRaw(`{}`),
	"state-contradiction": finishWith(func(r *wire.ExecutionResult) {
		for i := range r.Steps {
			r.Steps[i].State, r.Steps[i].ExitCode = wire.Failed, ptr.To[int32](3)
		}
	}),
	"invalid-utf8": finishRaw("{\"state\":\"Failed\",\"reason\":\"\xff\xfe\",\"message\":\"\xc3\x28\xed\xa0\x80\",\"durationMicros\":1," +
		"\"steps\":[{\"name\":\"\xff\",\"state\":\"Failed\",\"reason\":\"\xff\",\"message\":\"\xf0\x28\x8c\x28 \\ud800\"}]}"),
	"strings-long": finishWith(func(r *wire.ExecutionResult) {
		long := strings.Repeat("A", 1<<20)
		r.State, r.Reason, r.Message = wire.Failed, long, long
		for i := range r.Steps {
			r.Steps[i] = wire.StepResult{Name: long, State: wire.Failed, Reason: long, Message: long}
		}
	}),
	"output-long":   finishWith(func(r *wire.ExecutionResult) { r.Stdout = make([]byte, 5<<20) }),
	"steps-missing": finishWith(func(r *wire.ExecutionResult) { r.Steps = nil }),
	"steps-many": finishWith(func(r *wire.ExecutionResult) {
		for range 10_000 {
			r.Steps = append(r.Steps, wire.StepResult{Name: "more", State: wire.Succeeded})
		}
	}),
	// Two bytes of JSON a step, and a few hundred of memory each in the server.
	"steps-huge": {stream: func(s *stream) {
		s.begin()
		s.line(`{"seq":%d,"type":"finished","time":"2026-01-01T00:00:00Z","done":{"state":"Succeeded","durationMicros":1,"steps":[{}%s]}}`,
			s.seq+1, strings.Repeat(",{}", 2_750_000))
	}},
})
