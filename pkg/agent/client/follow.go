package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"arl.io/arl/pkg/agent/wire"
)

const (
	// largeTime is how long a large frame may take from where it holds memory that others wait for.
	largeTime = 10 * time.Second
	// Waits between attempts to take up a broken stream again.
	firstBackoff = 10 * time.Millisecond
	maxBackoff   = 500 * time.Millisecond
)

// Run posts an execution and calls onEvent for every event, in order, until it
// has ended; then it returns the outcome, which may be a failure of the steps.
// An ID that the agent knows is not run again: Run follows what there is. Pings
// are not passed on. Without onEvent, or with WithoutOutput, output costs
// nothing but what the outcome holds of it.
//
// If the connection breaks, Run takes the stream up again where it broke. If it
// cannot within the reconnect window, or the agent turns out to be another
// process than before, returns ErrUnreachable: the execution may have been begun. If
// the agent refuses it, returns ErrInvalid or ErrTooMany; if its outcome was dropped
// already, ErrForgotten; if it breaks the protocol, ErrProtocol. When ctx ends, returns its cause;
// the execution goes on.
func (c *Client) Run(ctx context.Context, ex wire.Execution, onEvent func(wire.Event), options ...Option) (wire.ExecutionResult, error) {
	body, err := json.Marshal(ex)
	if err != nil {
		return wire.ExecutionResult{}, fmt.Errorf("encoding the execution: %w", err)
	}
	return c.follow(ctx, newFollowing(following{id: ex.ID, body: body, next: 1, limits: limitsOf(len(ex.Steps), ex.OutputLimitBytes), onEvent: onEvent}, options))
}

// Attach follows an execution from the event with sequence number from (1 is
// the first) until it has ended, as Run does. If the agent does not know it, returns
// ErrNotFound; if its outcome was dropped, ErrForgotten; if the agent cannot be
// reached within the reconnect window, ErrUnreachable; if it breaks the protocol, ErrProtocol.
func (c *Client) Attach(ctx context.Context, id string, from int64, onEvent func(wire.Event), options ...Option) (wire.ExecutionResult, error) {
	from = max(from, 1)
	return c.follow(ctx, newFollowing(following{
		id: id, next: from, limits: agentLimits, order: order{unknown: from > 1}, onEvent: onEvent,
	}, options))
}

// Option changes what Run and Attach ask for.
type Option func(*following)

// WithoutOutput leaves out events of type EventOutput: onEvent gets the others,
// a few per step, which show which step runs.
func WithoutOutput(f *following) { f.quiet = true }

// Asked says how many steps the execution has that Attach follows, and its OutputLimitBytes. Its
// outcome is bounded by that, as Run bounds it by what is posted, and not by the agent's own limits.
func Asked(steps, outputLimitBytes int) Option {
	return func(f *following) {
		f.limits = limitsOf(steps, outputLimitBytes)
	}
}

func newFollowing(f following, options []Option) *following {
	f.quiet = f.onEvent == nil
	for _, option := range options {
		option(&f)
	}
	return &f
}

// following is the state of one Run or Attach.
type following struct {
	id string
	// body is the execution to post, or nil for Attach.
	body    []byte
	onEvent func(wire.Event)
	// quiet says that events of type output are not wanted.
	quiet bool
	// limits bound the answer, and order is how far it has come.
	limits limits
	order  order
	// next is the sequence number of the next event to ask for.
	next int64
	// begun says that the agent has answered with a stream once.
	begun bool
	// doubtful says that a post was cut off, so that the execution may or may
	// not have been begun by the agent's process named instance.
	doubtful bool
	instance string
	// connected is when the current stream began, or zero, and advanced says
	// whether an event has come on it that had not come before.
	connected time.Time
	advanced  bool
}

// lasted says whether the current stream was more than an agent that answers
// and breaks off: an event came, or it was there for some time.
func (f *following) lasted(long time.Duration) bool {
	return f.advanced || !f.connected.IsZero() && time.Since(f.connected) > long
}

// post says whether the next request is a post rather than an attach.
func (f *following) post() bool { return f.body != nil && !f.begun && !f.doubtful }

// errBroken marks an error after which the stream may be taken up again.
var errBroken = errors.New("stream broken")

// follow streams until the execution has ended, through broken connections.
func (c *Client) follow(ctx context.Context, f *following) (wire.ExecutionResult, error) {
	ctx, end := c.begin(ctx, 0)
	defer end()
	var lost time.Time
	backoff := firstBackoff
	for {
		f.connected, f.advanced = time.Time{}, false
		result, err := c.stream(ctx, f)
		if err == nil {
			return result, nil
		}
		if cause := context.Cause(ctx); cause != nil {
			return wire.ExecutionResult{}, fmt.Errorf("execution %s: %w", f.id, cause)
		}
		if !errors.Is(err, errBroken) {
			return wire.ExecutionResult{}, fmt.Errorf("execution %s: %w", f.id, err)
		}
		if lost.IsZero() || f.lasted(c.reconnect) {
			lost, backoff = time.Now(), firstBackoff
		}
		if time.Since(lost)+backoff > c.reconnect {
			return wire.ExecutionResult{}, fmt.Errorf("execution %s: %w: %w", f.id, ErrUnreachable, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// errSlow is the cause of the end of a stream on which a large frame takes too long.
var errSlow = fmt.Errorf("a large frame did not arrive within %s", largeTime)

// stream makes one request and passes on its events. If the request or its
// stream breaks, returns errBroken and notes in f what is to be asked next.
func (c *Client) stream(ctx context.Context, f *following) (wire.ExecutionResult, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(c.idle, func() { cancel(fmt.Errorf("%w: nothing heard for %s", ErrUnreachable, c.idle)) })
	defer idle.Stop()
	var slow *time.Timer

	posting := f.post()
	if posting {
		f.instance = c.Instance()
	}
	response, err := c.send(ctx, f.request())
	if err != nil {
		return wire.ExecutionResult{}, c.refused(f, posting, err)
	}
	defer response.Body.Close()
	f.begun, f.connected = true, time.Now()
	frames := frameReader{
		input: bufio.NewReaderSize(response.Body, readerBytes), limits: f.limits, decodes: c.decodes,
		waits: func() { idle.Stop() },
		goesOn: func() {
			idle.Reset(c.idle)
			slow = time.AfterFunc(largeTime, func() { cancel(errSlow) })
		},
	}
	for {
		event, err := frames.read(ctx)
		if slow != nil {
			slow.Stop()
		}
		isNew := false
		if err == nil {
			idle.Reset(c.idle)
			isNew, err = c.take(f, &event)
		} else if errors.Is(context.Cause(ctx), errSlow) {
			err = errors.Join(err, c.budget.frame(slowCost))
		}
		if errors.Is(err, ErrProtocol) {
			return wire.ExecutionResult{}, c.broke(err)
		}
		if err != nil {
			return wire.ExecutionResult{}, broken(ctx, err)
		}
		if isNew && event.Type == wire.EventFinished {
			return *event.Done, nil
		}
	}
}

// take takes in an event, and says whether it is new. What is not counts for the agent's budget.
func (c *Client) take(f *following, event *wire.Event) (isNew bool, err error) {
	if event.Type == wire.EventPing || event.Seq < f.next && event.Seq > 0 {
		return false, c.budget.frame(1)
	}
	if err := f.checkEvent(event); err != nil {
		return false, err
	}
	f.next, f.advanced = event.Seq+1, true
	if f.onEvent != nil {
		f.onEvent(*event)
	}
	return true, nil
}

// request returns what to send next.
func (f *following) request() request {
	query := url.Values{}
	if f.quiet {
		query.Set(wire.OutputQuery, wire.OutputNone)
	}
	if f.post() {
		return request{method: http.MethodPost, path: "/v1/executions", query: query, body: f.body}
	}
	query.Set(wire.FromQuery, strconv.FormatInt(f.next, 10))
	return request{method: http.MethodGet, path: executionPath(f.id) + "/events", query: query}
}

// refused sorts the error of a request that got no stream: it returns errBroken
// if another request is to be made, else the error that ends the following.
func (c *Client) refused(f *following, posting bool, err error) error {
	if errors.Is(err, ErrNotFound) {
		switch {
		case f.begun:
			return fmt.Errorf("%w: the agent was started anew and does not know it any more", ErrUnreachable)
		case f.doubtful && f.instance != "" && f.instance == c.Instance():
			// The same process says that the post never reached it.
			f.doubtful = false
			return fmt.Errorf("%w: the execution was not received", errBroken)
		case f.doubtful:
			return fmt.Errorf("%w: the agent was started anew; the execution may have been begun before", ErrUnreachable)
		}
		return err
	}
	if !errors.Is(err, ErrUnreachable) {
		return err
	}
	var dial *net.OpError
	if posting && !(errors.As(err, &dial) && dial.Op == "dial") {
		f.doubtful = true
	}
	return fmt.Errorf("%w: %w", errBroken, err)
}

// broken wraps the error that ended a stream.
func broken(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return fmt.Errorf("%w: %w", errBroken, err)
}
