package falseagent

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"arl.io/arl/pkg/agent/wire"
)

// pingLine is an event that says nothing.
const pingLine = `{"type":"ping","time":"2026-01-01T00:00:00Z"}` + "\n"

// Lies in the order, the number and the form of events.
var _ = register(map[string]lie{
	"pings": {stream: func(s *stream) { s.flood(func(int) []byte { return []byte(pingLine) }) }},
	"step-events": {stream: func(s *stream) {
		s.begin()
		s.flood(func(i int) []byte {
			return fmt.Appendf(nil, `{"seq":%d,"type":"stepStarted","time":"2026-01-01T00:00:00Z","step":%d}`+"\n", i+3, i)
		})
	}},
	"step-results": {stream: func(s *stream) {
		s.begin()
		message := strings.Repeat("B", 1000)
		s.flood(func(i int) []byte {
			return fmt.Appendf(nil, `{"seq":%d,"type":"stepFinished","time":"2026-01-01T00:00:00Z","step":%d,`+
				`"stepDone":{"name":"echo","state":"Succeeded","message":%q}}`+"\n", i+3, i, message)
		})
	}},
	"step-index": {stream: func(s *stream) {
		for _, index := range []int{-1, math.MinInt64, math.MaxInt64, 1 << 40, 257} {
			s.event(wire.Event{Type: wire.EventStepStarted, Step: index})
			result := wire.StepResult{State: wire.Succeeded}
			s.event(wire.Event{Type: wire.EventStepFinished, Step: index, StepDone: &result})
			s.event(wire.Event{Type: wire.EventStepFinished, Step: index})
		}
		s.finish(s.result())
	}},
	"sequence": {stream: func(s *stream) {
		for _, seq := range []int64{math.MaxInt64, math.MinInt64, -1, 0, 7, 7, 3} {
			s.line(`{"seq":%d,"type":"stepStarted","time":"2026-01-01T00:00:00Z"}`, seq)
		}
		s.hold()
	}},
	"output-flood": {stream: func(s *stream) {
		s.begin()
		chunk := strings.Repeat("QUFB", 16<<10)
		s.flood(func(i int) []byte {
			return fmt.Appendf(nil, `{"seq":%d,"type":"output","time":"2026-01-01T00:00:00Z","output":{"stream":"stdout","offset":%d,"data":%q}}`+"\n",
				i+3, -i, chunk)
		})
	}},
	"no-newline":  {stream: func(s *stream) { s.pour(" ") }},
	"deep-json":   {stream: func(s *stream) { s.send([]byte(strings.Repeat(`{"done":`, 900_000) + "\n")); s.hold() }},
	"not-json":    {stream: func(s *stream) { s.flood(func(int) []byte { return []byte("\x00\xff}{\n") }) }},
	"empty-lines": {stream: func(s *stream) { s.pour("\n") }},
	"unknown-types": {stream: func(s *stream) {
		s.flood(func(i int) []byte { return fmt.Appendf(nil, `{"seq":%d,"type":"surprise %d"}`+"\n", i+1, i) })
	}},
	"slow-loris": {stream: func(s *stream) {
		for _, each := range []byte(strings.Repeat(" ", 1<<16)) {
			if !s.send([]byte{each}) {
				return
			}
			select {
			case <-s.r.Context().Done():
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	}},
	"finished-early": {stream: func(s *stream) { result := s.result(); s.event(wire.Event{Type: wire.EventFinished, Done: &result}) }},
	"finished-empty": {stream: func(s *stream) {
		s.begin()
		s.flood(func(i int) []byte { return fmt.Appendf(nil, `{"seq":%d,"type":"finished"}`+"\n", i+3) })
	}},
	"never-ends": {stream: func(s *stream) { s.begin(); s.pings() }, health: running},
	"silent":     {stream: (*stream).hold},
	"frozen": {
		stream: (*stream).hold,
		health: func(_ *agent, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	},
})

// pings sends one now and then, as an honest agent with nothing to say.
func (s *stream) pings() {
	for s.send([]byte(pingLine)) {
		select {
		case <-s.r.Context().Done():
			return
		case <-time.After(time.Second):
		}
	}
}

// running answers that all executions are still running.
func running(a *agent, w http.ResponseWriter, _ *http.Request) {
	health := a.honest()
	health.Running = a.known()
	answer(w, http.StatusOK, health)
}
