package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"arl.io/arl/pkg/agent/execution"
	"arl.io/arl/pkg/agent/wire"
)

// maxRequestBytes bounds the body of a request. A task is at most about 1.5 MiB
// as stored, and its bytes may be escaped here.
const maxRequestBytes = 16 << 20

// handler returns the handler of all requests.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/health", s.serveHealth)
	mux.HandleFunc("POST /v1/executions", s.servePost)
	mux.HandleFunc("GET /v1/executions/{id}/events", s.serveEvents)
	mux.HandleFunc("POST /v1/executions/{id}/cancel", s.serveCancel)
	mux.HandleFunc("DELETE /v1/executions/{id}", s.serveForget)
	mux.HandleFunc("/", s.serveUnknown)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(wire.InstanceHeader, s.instance)
		r.Body = http.MaxBytesReader(w, r.Body, maxRequestBytes)
		mux.ServeHTTP(w, r)
	})
}

func (s *Server) serveHealth(w http.ResponseWriter, _ *http.Request) {
	s.answer(w, http.StatusOK, s.health())
}

func (s *Server) servePost(w http.ResponseWriter, r *http.Request) {
	var request wire.Execution
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		s.refuse(w, fmt.Errorf("%w: body: %w", execution.ErrInvalid, err))
		return
	}
	begun, err := s.executions.Post(request)
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.stream(w, r, begun)
}

func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	known, err := s.executions.Get(r.PathValue("id"))
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.stream(w, r, known)
}

func (s *Server) serveCancel(w http.ResponseWriter, r *http.Request) {
	var request wire.CancelRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		s.refuse(w, fmt.Errorf("%w: body: %w", execution.ErrInvalid, err))
		return
	}
	known, err := s.executions.Get(r.PathValue("id"))
	if err != nil {
		s.refuse(w, err)
		return
	}
	known.Cancel(request)
	s.answer(w, http.StatusOK, struct{}{})
}

func (s *Server) serveForget(w http.ResponseWriter, r *http.Request) {
	if err := s.executions.Forget(r.PathValue("id")); err != nil {
		s.refuse(w, err)
		return
	}
	s.answer(w, http.StatusOK, struct{}{})
}

func (s *Server) serveUnknown(w http.ResponseWriter, r *http.Request) {
	s.answer(w, http.StatusNotFound, wire.Error{
		Code:    wire.CodeInvalid,
		Message: fmt.Sprintf("no such request in protocol version %d: %s %s", wire.ProtocolVersion, r.Method, r.URL.Path),
	})
}

// stream sends the events of an execution until it has ended or the client goes.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, e *execution.Execution) {
	from := int64(1)
	if asked := r.URL.Query().Get(wire.FromQuery); asked != "" {
		var err error
		if from, err = strconv.ParseInt(asked, 10, 64); err != nil {
			s.refuse(w, fmt.Errorf("%w: %s: must be a number", execution.ErrInvalid, wire.FromQuery))
			return
		}
	}
	reader := e.Read(from, r.URL.Query().Get(wire.OutputQuery) != wire.OutputNone)
	defer reader.Close()
	w.Header().Set("Content-Type", "application/x-ndjson")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	control := http.NewResponseController(w)
	for {
		events, err := reader.Next(r.Context(), s.config.PingInterval)
		if err != nil {
			return
		}
		if len(events) == 0 {
			events = append(events, wire.Event{Type: wire.EventPing, Time: time.Now().UTC()})
		}
		for i := range events {
			// Only the client's going away makes this fail.
			if encoder.Encode(&events[i]) != nil {
				return
			}
		}
		if events[len(events)-1].Type == wire.EventFinished {
			return
		}
		if control.Flush() != nil {
			return
		}
	}
}

// refuse answers with an error of the registry.
func (s *Server) refuse(w http.ResponseWriter, err error) {
	status, code := http.StatusInternalServerError, wire.CodeInternal
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		status, code = http.StatusRequestEntityTooLarge, wire.CodeInvalid
	case errors.Is(err, execution.ErrInvalid):
		status, code = http.StatusBadRequest, wire.CodeInvalid
	case errors.Is(err, execution.ErrNotEnded):
		status, code = http.StatusConflict, wire.CodeInvalid
	case errors.Is(err, execution.ErrNotFound):
		status, code = http.StatusNotFound, wire.CodeNotFound
	case errors.Is(err, execution.ErrForgotten):
		status, code = http.StatusGone, wire.CodeForgotten
	case errors.Is(err, execution.ErrTooMany):
		status, code = http.StatusTooManyRequests, wire.CodeTooMany
	case errors.Is(err, execution.ErrClosed):
		status = http.StatusServiceUnavailable
	}
	s.answer(w, status, wire.Error{Code: code, Message: err.Error()})
}

// answer sends a body that is not a stream.
func (s *Server) answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		s.logger.Debug("An answer could not be sent", "err", err)
	}
}
