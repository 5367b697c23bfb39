// Package client talks to the agent of one pod.
//
// It speaks the protocol of package wire over HTTP/2. A stream of events that
// breaks is taken up again where it broke, for a short window; a request that
// may have been begun is never sent in a way that could begin it twice.
//
// The agent shares its container with the user's code and is not trusted. What it may send follows
// from what it was asked: the size of a frame, the number of steps, the length of every field, the
// order of events (protocol.go). Lists are counted while they are decoded (frame.go), large frames of
// all agents share a bound, and what an agent sends unasked has a budget (budget.go). An agent that
// goes beyond breaks the protocol, and the client has done with it: ErrProtocol. What is returned is
// bounded and valid text, but may be a lie: times, counts and exit codes are as the agent says.
//
// The package starts no goroutine that outlives a call, except those of the HTTP transport, which
// Close ends. Client.mu and the lock of a budget are leaves. Read client.go first, then follow.go.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"arl.io/arl/pkg/agent/wire"
)

// Sentinel errors. They are wrapped with what the agent said.
var (
	// ErrUnreachable: no answer from the agent, or the connection broke. What
	// was asked for may have been begun.
	ErrUnreachable = errors.New("agent unreachable")
	// ErrInvalid: the agent refuses the request as it stands; nothing was begun.
	ErrInvalid = errors.New("agent refused the request")
	// ErrTooMany: the agent runs as many executions as it can; nothing was begun.
	ErrTooMany = errors.New("agent runs too many executions")
	// ErrNotFound: the agent does not know the execution; it never began it.
	ErrNotFound = errors.New("execution not known to the agent")
	// ErrForgotten: the execution ran, and its outcome was dropped.
	ErrForgotten = errors.New("execution's outcome was dropped")
)

// Defaults of a Config.
const (
	// DefaultReconnectWindow is long enough for a hiccup of a network and short
	// enough for the scheduler to notice a pod that died.
	DefaultReconnectWindow = 5 * time.Second
	// DefaultIdleTimeout is three of the agent's pings.
	DefaultIdleTimeout = 45 * time.Second
)

const (
	// maxHealthBytes, maxAnswerBytes and maxErrorBytes bound answers that are not streams: of Health,
	// of other requests that succeed, and of those that fail.
	maxHealthBytes = 256 << 10
	maxAnswerBytes = 4 << 10
	maxErrorBytes  = 64 << 10
	// answerTimeout bounds a request whose answer is not a stream.
	answerTimeout = 30 * time.Second
)

// Config says how to reach an agent. Transport and BaseURL are needed.
type Config struct {
	// Transport makes the connections; UnixTransport and TLSTransport make one.
	Transport http.RoundTripper
	// BaseURL is scheme and host, such as "https://10.1.2.3:8443".
	BaseURL string
	// ReconnectWindow bounds how long Run and Attach try to take up a broken
	// stream again. 0 means DefaultReconnectWindow; negative means not at all.
	ReconnectWindow time.Duration
	// IdleTimeout is how long a stream may be silent before it counts as
	// broken. 0 means DefaultIdleTimeout.
	IdleTimeout time.Duration
	// Decodes bounds large frames of all clients that share it. Nil means a bound of this client's own.
	Decodes *Decodes
}

// Client is safe for concurrent use.
type Client struct {
	http      *http.Client
	base      string
	reconnect time.Duration
	idle      time.Duration
	decodes   *Decodes
	budget    *budget

	mu sync.Mutex
	// violation is set for good by an agent that breaks the protocol.
	violation error
	// calls are the cancel functions of the requests under way.
	calls map[*call]struct{}
	// closed is set for good by Close.
	closed bool
	// instance identifies the agent's process, as last seen. A process that
	// was started anew knows nothing of what the one before it ran.
	instance string
}

// call is a request under way.
type call struct{ cancel context.CancelCauseFunc }

// errClosed is the cause of the end of requests that Close cuts off.
var errClosed = fmt.Errorf("%w: the connection was closed because its pod is gone", ErrUnreachable)

// errSilent is the cause of the end of requests that get no answer for too long.
var errSilent = fmt.Errorf("%w: no answer within %s", ErrUnreachable, answerTimeout)

// New returns a client, which the transport is for alone. No connection is made before the first request.
func New(config Config) *Client {
	if config.ReconnectWindow == 0 {
		config.ReconnectWindow = DefaultReconnectWindow
	}
	if config.IdleTimeout == 0 {
		config.IdleTimeout = DefaultIdleTimeout
	}
	if config.Decodes == nil {
		config.Decodes = NewDecodes(DefaultDecodeBytes)
	}
	c := &Client{
		http:      &http.Client{Transport: config.Transport, CheckRedirect: stay},
		base:      config.BaseURL,
		reconnect: config.ReconnectWindow,
		idle:      config.IdleTimeout,
		decodes:   config.Decodes,
		budget:    newBudget(),
		calls:     map[*call]struct{}{},
	}
	c.meter(config.Transport)
	return c
}

// stay has a redirect returned as it is: an agent must not send the server elsewhere.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Health asks the agent how it is. If there is no answer, returns ErrUnreachable.
func (c *Client) Health(ctx context.Context) (wire.Health, error) {
	var health wire.Health
	err := c.do(ctx, request{method: http.MethodGet, path: "/v1/health", most: maxHealthBytes}, &health)
	if err == nil {
		err = c.broke(checkHealth(&health))
	}
	if err != nil {
		return wire.Health{}, err
	}
	return health, nil
}

// Cancel asks the agent to end an execution and returns once it was told; Run
// or Attach give the outcome. To cancel an execution that has ended is no
// error. If the agent does not know it, returns ErrNotFound; if its outcome was
// dropped, ErrForgotten.
func (c *Client) Cancel(ctx context.Context, id string, req wire.CancelRequest) error {
	body, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("encoding the request: %w", err)
	}
	return c.do(ctx, request{method: http.MethodPost, path: executionPath(id) + "/cancel", body: body, most: maxAnswerBytes}, nil)
}

// Forget makes the agent drop the outcome of an execution that has ended. Its
// ID stays known, so it will not run again. To forget twice is no error. If the
// agent does not know the execution, returns ErrNotFound; if it has not ended, ErrInvalid.
func (c *Client) Forget(ctx context.Context, id string) error {
	err := c.do(ctx, request{method: http.MethodDelete, path: executionPath(id), most: maxAnswerBytes}, nil)
	if errors.Is(err, ErrForgotten) {
		return nil
	}
	return err
}

// Close ends all requests under way with ErrUnreachable, and every later one
// at once. Executions in the pod go on.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.cutLocked(errClosed)
	c.mu.Unlock()
	c.http.CloseIdleConnections()
}

// cutLocked ends all requests under way.
func (c *Client) cutLocked(cause error) {
	for each := range c.calls {
		each.cancel(cause)
	}
}

// broke takes in an error. If it is an ErrProtocol, all requests under way end with it, and all later
// ones. It returns the error.
func (c *Client) broke(err error) error {
	if !errors.Is(err, ErrProtocol) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.violation == nil {
		c.violation = err
		c.cutLocked(err)
	}
	return err
}

// request is one HTTP request to the agent.
type request struct {
	method, path string
	query        url.Values
	body         []byte
	// most bounds the answer, in bytes, if it is not a stream.
	most int64
}

func executionPath(id string) string { return "/v1/executions/" + url.PathEscape(id) }

// do sends a request whose answer is not a stream and decodes it into out, if any.
func (c *Client) do(ctx context.Context, req request, out any) error {
	ctx, end := c.begin(ctx, answerTimeout)
	defer end()
	response, err := c.send(ctx, req)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, req.most+1))
	switch {
	case err != nil:
		return unreachable(ctx, err)
	case int64(len(body)) > req.most:
		return c.broke(violation("%s %s: an answer of more than %d bytes", req.method, req.path, req.most))
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("%w: %s %s: answer not understood: %w", ErrUnreachable, req.method, req.path, err)
	}
	return nil
}

// begin derives the context of a call, which Close ends, and which lasts no longer than the limit if
// there is one.
func (c *Client) begin(ctx context.Context, limit time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	this := &call{cancel: cancel}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.violation != nil:
		cancel(c.violation)
	case c.closed:
		cancel(errClosed)
	}
	c.calls[this] = struct{}{}
	var timer *time.Timer
	if limit > 0 {
		timer = time.AfterFunc(limit, func() { cancel(errSilent) })
	}
	return ctx, func() {
		if timer != nil {
			timer.Stop()
		}
		c.mu.Lock()
		delete(c.calls, this)
		c.mu.Unlock()
		cancel(nil)
	}
}

// send sends a request and returns the response if its status is 200. The
// caller closes its body. An error of the agent is returned as a sentinel, an answer that is neither
// as ErrProtocol, and any other as ErrUnreachable.
func (c *Client) send(ctx context.Context, req request) (*http.Response, error) {
	address := c.base + req.path
	if len(req.query) > 0 {
		address += "?" + req.query.Encode()
	}
	httpRequest, err := http.NewRequestWithContext(ctx, req.method, address, bytes.NewReader(req.body))
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	c.budget.asked()
	response, err := c.http.Do(httpRequest)
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	response.Body = &meteredBody{ReadCloser: response.Body, budget: c.budget}
	instance := response.Header.Get(wire.InstanceHeader)
	switch status := response.StatusCode; {
	case len(instance) > maxInstance:
		err = violation("an instance of %d bytes", len(instance))
	case status >= 300 && status < 400:
		err = violation("%s %s: it answered %d, which leads elsewhere", req.method, req.path, status)
	case status != http.StatusOK:
		err = fmt.Errorf("%s %s: %w", req.method, req.path, agentError(response))
	}
	if !errors.Is(err, ErrProtocol) {
		c.seen(instance)
	}
	if err != nil {
		return nil, errors.Join(c.broke(err), response.Body.Close())
	}
	return response, nil
}

// seen notes which process of the agent has answered.
func (c *Client) seen(instance string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.instance = instance
}

// Instance identifies the agent's process that answered last. It is empty if none has.
func (c *Client) Instance() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.instance
}

// unreachable wraps an error of the connection, or returns the reason why ctx ended.
func unreachable(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// agentError turns an answer that is not 200 into an error.
func agentError(response *http.Response) error {
	var said wire.Error
	body, err := io.ReadAll(io.LimitReader(response.Body, maxErrorBytes))
	if err == nil {
		err = json.Unmarshal(body, &said)
	}
	if err != nil {
		return fmt.Errorf("%w: it answered %d", ErrUnreachable, response.StatusCode)
	}
	said.Message = clipped(said.Message, maxErrorMessage)
	switch said.Code {
	case wire.CodeInvalid:
		return fmt.Errorf("%w: %s", ErrInvalid, said.Message)
	case wire.CodeNotFound:
		return fmt.Errorf("%w: %s", ErrNotFound, said.Message)
	case wire.CodeForgotten:
		return fmt.Errorf("%w: %s", ErrForgotten, said.Message)
	case wire.CodeTooMany:
		return fmt.Errorf("%w: %s", ErrTooMany, said.Message)
	default:
		return fmt.Errorf("%w: it answered %d: %s", ErrUnreachable, response.StatusCode, said.Message)
	}
}
