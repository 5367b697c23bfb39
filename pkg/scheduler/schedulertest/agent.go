package schedulertest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/agent/wire"
)

// Behaviour is what an agent does with an execution. Ctx ends when the
// execution is cancelled; its cause is then a Cancelled.
type Behaviour func(ctx context.Context, execution wire.Execution) wire.ExecutionResult

// Cancelled is the cause of a context that ends because the execution was cancelled.
type Cancelled struct{ wire.CancelRequest }

func (c Cancelled) Error() string { return c.Message }

// Succeed is the Behaviour of an agent whose commands print their arguments.
func Succeed(_ context.Context, execution wire.Execution) wire.ExecutionResult {
	result := wire.ExecutionResult{State: wire.Succeeded, DurationMicros: 1}
	for _, step := range execution.Steps {
		code := int32(0)
		result.ExitCode = &code
		result.Stdout = append(result.Stdout, strings.Join(step.Command, " ")...)
		result.Steps = append(result.Steps, wire.StepResult{Name: step.Name, State: wire.Succeeded, ExitCode: &code, StartTime: time.Now(), DurationMicros: 1})
	}
	return result
}

// Hang is the Behaviour of an agent whose commands end only when they are cancelled.
func Hang(ctx context.Context, execution wire.Execution) wire.ExecutionResult {
	<-ctx.Done()
	result := wire.ExecutionResult{State: wire.Failed, Message: context.Cause(ctx).Error()}
	var cancelled Cancelled
	if errors.As(context.Cause(ctx), &cancelled) {
		result.Reason = cancelled.Reason
	}
	for _, step := range execution.Steps {
		result.Steps = append(result.Steps, wire.StepResult{Name: step.Name, State: wire.Skipped})
	}
	return result
}

// reporter is the key of the function that Report calls.
type reporter struct{}

// Report has the agent send an event of an execution: StepStarted or StepFinished. Ctx is the
// Behaviour's.
func Report(ctx context.Context, event wire.Event) {
	ctx.Value(reporter{}).(func(wire.Event))(event)
}

// StepStarted is the event of the start of a step.
func StepStarted(step int) wire.Event {
	return wire.Event{Type: wire.EventStepStarted, Step: step, Time: time.Now()}
}

// StepFinished is the event of the success of a step.
func StepFinished(step int) wire.Event {
	code := int32(0)
	return wire.Event{Type: wire.EventStepFinished, Step: step, Time: time.Now(), StepDone: &wire.StepResult{State: wire.Succeeded, ExitCode: &code}}
}

// Agent is the agent of a Pod. It keeps the protocol of package wire, as far as
// the scheduler uses it.
type Agent struct {
	client *client.Client
	group  sync.WaitGroup

	mu       sync.Mutex
	behave   Behaviour
	instance string
	known    map[string]*run
	began    []string
	dropped  []string
	// deaf agents refuse connections, frozen ones do not answer, and broken ones break the protocol when
	// they are asked for their health.
	deaf, dead, frozen, broken bool
}

// run is an execution.
type run struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
	result wire.ExecutionResult
	// events are what the steps reported, and changed is closed when there are more.
	events  []wire.Event
	changed chan struct{}
	// forgotten says that the outcome was dropped.
	forgotten bool
}

func newAgent(behave Behaviour) *Agent {
	if behave == nil {
		behave = Succeed
	}
	a := &Agent{behave: behave, instance: uuid.NewString(), known: map[string]*run{}}
	a.client = client.New(client.Config{Transport: a, BaseURL: "http://agent", ReconnectWindow: -1})
	return a
}

// Behave changes what the agent does with executions from now on.
func (a *Agent) Behave(behave Behaviour) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.behave = behave
}

// Deaf says whether requests get no answer.
func (a *Agent) Deaf(deaf bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.deaf = deaf
}

// Freeze has every request from now on wait until its client gives up.
func (a *Agent) Freeze() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.frozen = true
}

// Break has the agent break the protocol when it is asked for its health.
func (a *Agent) Break() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.broken = true
}

// Thaw undoes Freeze. Requests that wait already get no answer.
func (a *Agent) Thaw() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.frozen = false
}

// Restart makes the agent forget everything, as a new process would.
func (a *Agent) Restart() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, each := range a.known {
		each.cancel(errors.New("the agent was started anew"))
	}
	a.instance, a.known = uuid.NewString(), map[string]*run{}
}

// Began returns the IDs of the executions that were begun, in order.
func (a *Agent) Began() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.began)
}

// Dropped returns the IDs of the executions whose outcome was dropped.
func (a *Agent) Dropped() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.dropped)
}

// kill ends the agent and all it runs.
func (a *Agent) kill() {
	a.mu.Lock()
	a.dead = true
	for _, each := range a.known {
		each.cancel(errors.New("the pod is gone"))
	}
	a.mu.Unlock()
	a.client.Close()
	a.group.Wait()
}

var errDeaf = errors.New("connection refused")

// RoundTrip answers a request, in place of a network.
func (a *Agent) RoundTrip(request *http.Request) (*http.Response, error) {
	var body []byte
	if request.Body != nil {
		defer request.Body.Close()
		var err error
		if body, err = io.ReadAll(request.Body); err != nil {
			return nil, err
		}
	}
	a.mu.Lock()
	if a.frozen {
		a.mu.Unlock()
		<-request.Context().Done()
		return nil, request.Context().Err()
	}
	defer a.mu.Unlock()
	if a.deaf || a.dead {
		return nil, errDeaf
	}
	id, verb, _ := strings.Cut(strings.TrimPrefix(request.URL.Path, "/v1/executions/"), "/")
	switch {
	case request.URL.Path == "/v1/health" && a.broken:
		return a.answerLocked(http.StatusOK, wire.Health{Readiness: &wire.Readiness{State: "Odd"}}), nil
	case request.URL.Path == "/v1/health":
		return a.answerLocked(http.StatusOK, wire.Health{Used: len(a.began) > 0, Running: a.runningLocked()}), nil
	case request.Method == http.MethodPost && request.URL.Path == "/v1/executions":
		return a.postLocked(request.Context(), body), nil
	}
	known, ok := a.known[id]
	switch {
	case !ok:
		return a.answerLocked(http.StatusNotFound, wire.Error{Code: wire.CodeNotFound, Message: id}), nil
	case verb == "cancel":
		var cancel Cancelled
		if err := json.Unmarshal(body, &cancel.CancelRequest); err != nil {
			return nil, err
		}
		known.cancel(cancel)
		return a.answerLocked(http.StatusOK, struct{}{}), nil
	case request.Method == http.MethodDelete:
		known.forgotten = true
		a.dropped = append(a.dropped, id)
		return a.answerLocked(http.StatusOK, struct{}{}), nil
	default:
		return a.streamLocked(request.Context(), known), nil
	}
}

// runningLocked returns the IDs of the executions that have not ended.
func (a *Agent) runningLocked() (ids []string) {
	for id, each := range a.known {
		select {
		case <-each.done:
		default:
			ids = append(ids, id)
		}
	}
	return ids
}

func (a *Agent) postLocked(ctx context.Context, body []byte) *http.Response {
	var execution wire.Execution
	if err := json.Unmarshal(body, &execution); err != nil {
		return a.answerLocked(http.StatusBadRequest, wire.Error{Code: wire.CodeInvalid, Message: err.Error()})
	}
	for _, step := range execution.Steps {
		if step.Name == "invalid" {
			return a.answerLocked(http.StatusBadRequest, wire.Error{Code: wire.CodeInvalid, Message: "step invalid"})
		}
	}
	known, ok := a.known[execution.ID]
	if !ok {
		running, cancel := context.WithCancelCause(context.Background())
		known = &run{cancel: cancel, done: make(chan struct{}), changed: make(chan struct{})}
		report := func(event wire.Event) { a.report(known, event) }
		running = context.WithValue(running, reporter{}, report)
		a.known[execution.ID] = known
		a.began = append(a.began, execution.ID)
		behave := a.behave
		a.group.Go(func() {
			defer cancel(nil)
			known.result = behave(running, execution)
			close(known.done)
		})
	}
	return a.streamLocked(ctx, known)
}

// streamLocked answers with the end of an execution, once it comes.
func (a *Agent) streamLocked(ctx context.Context, known *run) *http.Response {
	if known.forgotten {
		return a.answerLocked(http.StatusGone, wire.Error{Code: wire.CodeForgotten, Message: "dropped"})
	}
	reader, writer := io.Pipe()
	a.group.Go(func() { writer.CloseWithError(a.stream(ctx, known, writer)) })
	return a.responseLocked(http.StatusOK, reader)
}

// stream writes the events of an execution until it has ended.
func (a *Agent) stream(ctx context.Context, known *run, writer io.Writer) error {
	encoder := json.NewEncoder(writer)
	sent := 0
	for {
		a.mu.Lock()
		events, changed := known.events[sent:], known.changed
		gone := a.dead || a.deaf
		a.mu.Unlock()
		if gone {
			return io.ErrUnexpectedEOF
		}
		for _, event := range events {
			sent++
			event.Seq = int64(sent)
			if err := encoder.Encode(event); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
			continue
		case <-known.done:
		}
		a.mu.Lock()
		gone, behind := a.dead || a.deaf, sent < len(known.events)
		a.mu.Unlock()
		if gone {
			return io.ErrUnexpectedEOF
		}
		if behind {
			continue
		}
		result := known.result
		return encoder.Encode(wire.Event{Seq: int64(sent) + 1, Type: wire.EventFinished, Time: time.Now(), Done: &result})
	}
}

// report adds an event to an execution.
func (a *Agent) report(known *run, event wire.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known.events = append(known.events, event)
	close(known.changed)
	known.changed = make(chan struct{})
}

func (a *Agent) answerLocked(status int, answer any) *http.Response {
	body, err := json.Marshal(answer)
	if err != nil {
		body = []byte(err.Error())
	}
	return a.responseLocked(status, io.NopCloser(strings.NewReader(string(body)+"\n")))
}

func (a *Agent) responseLocked(status int, body io.ReadCloser) *http.Response {
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{http.CanonicalHeaderKey(wire.InstanceHeader): {a.instance}}, Body: body}
}
