package falseagent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/agent/wire"
)

// stream answers one request for the events of an execution.
type stream struct {
	agent     *agent
	w         http.ResponseWriter
	r         *http.Request
	control   *http.ResponseController
	execution wire.Execution
	// seq is the sequence number of the last event.
	seq int64
}

// send writes bytes and returns false once the server does not read any more.
func (s *stream) send(data []byte) bool {
	if _, err := s.w.Write(data); err != nil {
		return false
	}
	return s.control.Flush() == nil
}

// line sends one frame that is given as JSON.
func (s *stream) line(format string, args ...any) bool {
	return s.send(fmt.Appendf(nil, format+"\n", args...))
}

// event sends one event with the next sequence number.
func (s *stream) event(event wire.Event) bool {
	s.seq++
	event.Seq, event.Time = s.seq, time.Now().UTC()
	data, err := json.Marshal(event)
	return err == nil && s.send(append(data, '\n'))
}

// begin sends what an honest agent does when the first step starts.
func (s *stream) begin() {
	s.event(wire.Event{Type: wire.EventStarted})
	s.event(wire.Event{Type: wire.EventStepStarted})
}

// result is how the execution went by an honest agent.
func (s *stream) result() wire.ExecutionResult {
	result := wire.ExecutionResult{State: wire.Succeeded, ExitCode: ptr.To[int32](0), DurationMicros: 1000}
	for _, step := range s.execution.Steps {
		result.Steps = append(result.Steps, wire.StepResult{
			Name: step.Name, State: wire.Succeeded, ExitCode: ptr.To[int32](0), StartTime: time.Now().UTC(), DurationMicros: 1000,
		})
	}
	return result
}

// finish sends the end of each step and of the execution.
func (s *stream) finish(result wire.ExecutionResult) {
	for i := range result.Steps {
		s.event(wire.Event{Type: wire.EventStepFinished, Step: i, StepDone: &result.Steps[i]})
	}
	s.event(wire.Event{Type: wire.EventFinished, Done: &result})
}

// finishWith is a stream that ends as an honest one, with the result changed.
func finishWith(change func(*wire.ExecutionResult)) lie {
	return lie{stream: func(s *stream) {
		s.begin()
		result := s.result()
		change(&result)
		s.finish(result)
	}}
}

// finishRaw is a stream that ends with a result given as JSON.
func finishRaw(result string) lie {
	return lie{stream: func(s *stream) {
		s.begin()
		s.line(`{"seq":%d,"type":"finished","time":%q,"done":%s}`, s.seq+1, time.Now().UTC().Format(time.RFC3339), result)
	}}
}

// flood sends what next returns until the server has gone.
func (s *stream) flood(next func(i int) []byte) {
	for i := 0; s.send(next(i)); i++ {
	}
}

// hold keeps the stream open and silent.
func (s *stream) hold() { <-s.r.Context().Done() }

// inject writes frames of HTTP/2 beside those of the stream until the connection is gone or the
// server has given up the request.
func (s *stream) inject(next func(i uint32) []byte) {
	conn, ok := s.r.Context().Value(connKey{}).(*sharedConn)
	if !ok {
		return
	}
	s.begin()
	for i := uint32(0); s.r.Context().Err() == nil; i++ {
		// Many at once: what costs the server is reading them.
		if _, err := conn.Write(bytes.Repeat(next(i), 64)); err != nil {
			return
		}
	}
}

// endless is a reader of the same bytes for ever.
type endless []byte

// Read fills p.
func (e endless) Read(p []byte) (int, error) {
	for n := 0; n < len(p); {
		n += copy(p[n:], e)
	}
	return len(p), nil
}

// pour writes the same bytes until the server has gone, as one piece.
func (s *stream) pour(what string) {
	_, _ = io.Copy(s.w, endless(what))
}
