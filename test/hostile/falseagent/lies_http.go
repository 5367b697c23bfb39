package falseagent

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"arl.io/arl/pkg/agent/wire"
)

// firstStreams is how many of a connection's first streams are meant by a frame that needs one.
const firstStreams = 64

// Lies in the answers of HTTP and the frames of HTTP/2.
var _ = register(map[string]lie{
	"redirect": {stream: func(s *stream) {
		target := s.agent.target
		if target == "" {
			target = "127.0.0.1:1"
		}
		s.w.Header().Set("Location", s.agent.scheme+"://"+target+"/v1/executions")
		s.w.WriteHeader(http.StatusTemporaryRedirect)
	}},
	"status-429": {stream: refusal(http.StatusTooManyRequests, wire.CodeTooMany)},
	"status-404": {stream: refusal(http.StatusNotFound, wire.CodeNotFound)},
	"status-410": {stream: refusal(http.StatusGone, wire.CodeForgotten)},
	"status-400": {stream: refusal(http.StatusBadRequest, wire.CodeInvalid)},
	"status-500": {stream: refusal(http.StatusInternalServerError, wire.CodeInternal)},
	"error-long": {stream: func(s *stream) {
		s.w.WriteHeader(http.StatusInternalServerError)
		s.pour("E")
	}},
	"other-instance": {stream: func(s *stream) {
		s.w.Header().Set(wire.InstanceHeader, rand.Text())
		refusal(http.StatusNotFound, wire.CodeNotFound)(s)
	}},
	"instance-long": {stream: func(s *stream) {
		s.w.Header().Set(wire.InstanceHeader, strings.Repeat("I", 1<<20))
		s.begin()
		s.finish(s.result())
	}},
	"headers-many": {stream: func(s *stream) {
		for i := range 50_000 {
			s.w.Header().Set(fmt.Sprintf("X-Lie-%d", i), "lie")
		}
		s.begin()
		s.finish(s.result())
	}},
	"health-huge": {stream: (*stream).pings, health: func(_ *agent, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.Copy(w, endless(`{"running":["a","a","a","a","a","a","a","a"],`))
	}},
	"health-running-many": {stream: (*stream).pings, health: func(a *agent, w http.ResponseWriter, _ *http.Request) {
		health := a.honest()
		for range 500_000 {
			health.Running = append(health.Running, "not-an-execution-of-anybody")
		}
		answer(w, http.StatusOK, health)
	}},
	"health-message-long": {stream: (*stream).pings, health: func(a *agent, w http.ResponseWriter, _ *http.Request) {
		health := a.honest()
		health.Readiness = &wire.Readiness{State: "Exploded", Message: strings.Repeat("M", 4<<20)}
		answer(w, http.StatusOK, health)
	}},
	"health-flaps": {stream: (*stream).pings, health: func(a *agent, w http.ResponseWriter, _ *http.Request) {
		health := a.honest()
		health.Readiness = &wire.Readiness{State: wire.NotReady, Message: fmt.Sprintf("\xff %d", flaps.Add(1))}
		if flaps.Load()%2 == 0 {
			health.Readiness = &wire.Readiness{State: wire.Ready}
		}
		answer(w, http.StatusOK, health)
	}},
	"h2-pings": {stream: func(s *stream) {
		s.inject(func(i uint32) []byte { return frame(framePing, 0, 0, append(number(i), number(i)...)...) })
	}},
	"h2-settings": {stream: func(s *stream) { s.inject(func(uint32) []byte { return frame(frameSettings, 0, 0) }) }},
	"h2-windows": {stream: func(s *stream) {
		s.inject(func(uint32) []byte { return frame(frameWindowUpdate, 0, 0, number(1)...) })
	}},
	"h2-resets": {stream: func(s *stream) {
		const refusedStream = 7
		s.inject(func(i uint32) []byte { return frame(frameReset, 0, 1+2*(i%firstStreams), number(refusedStream)...) })
	}},
	"h2-continuation": {stream: func(s *stream) {
		s.inject(func(i uint32) []byte {
			if i == 0 {
				return frame(frameHeaders, 0, 1, 0x82)
			}
			return frame(frameContinuation, 0, 1, make([]byte, 1000)...)
		})
	}},
	"h2-empty-data": {stream: func(s *stream) {
		s.inject(func(i uint32) []byte { return frame(frameData, 0, 1+2*(i%firstStreams)) })
	}},
	"h2-goaway": {stream: func(s *stream) {
		s.inject(func(uint32) []byte { return frame(frameGoAway, 0, 0, append(number(0), number(0)...)...) })
	}},
	"h2-settings-absurd": {stream: func(s *stream) {
		// A window of 0, no streams at all, and the smallest frames there may be.
		settings := []byte{0, 3, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 5, 0, 0, 0x40, 0}
		s.inject(func(uint32) []byte { return frame(frameSettings, 0, 0, settings...) })
	}},
})

// flaps counts the answers of the lie "health-flaps".
var flaps atomic.Int64

// refusal answers with an error of the agent's protocol.
func refusal(status int, code string) func(*stream) {
	return func(s *stream) {
		answer(s.w, status, wire.Error{Code: code, Message: strings.Repeat("no \xff", 1000)})
	}
}
