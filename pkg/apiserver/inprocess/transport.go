// Package inprocess lets a client in the server's own process call the server's
// handlers without a network in between: no TLS, no HTTP framing, no copy
// through the kernel. A request passes the whole chain of handlers all the
// same, authentication, authorization, audit and limits included.
//
// Each request runs its handler in a goroutine that ends with the handler, at
// the latest when the request's context ends or the response's body is closed.
//
// Read transport.go for the client's side, response.go for the handler's.
package inprocess

import (
	"context"
	"errors"
	"net/http"
	"sync"
)

// remoteAddr is what handlers and audit logs see as the client's address.
const remoteAddr = "127.0.0.1:0"

// Transport is an http.RoundTripper that calls a handler. It may be used
// before Serve: requests wait for the handler. All methods are safe for
// concurrent use.
type Transport struct {
	once    sync.Once
	serving chan struct{}
	handler http.Handler
}

var _ http.RoundTripper = (*Transport)(nil)

// New returns a transport without a handler.
func New() *Transport { return &Transport{serving: make(chan struct{})} }

// Serve gives the transport its handler. Only the first call counts.
func (t *Transport) Serve(handler http.Handler) {
	t.once.Do(func() {
		t.handler = handler
		close(t.serving)
	})
}

// RoundTrip returns when the handler has sent its header. The body streams; it
// must be closed, which ends the handler's context.
func (t *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	select {
	case <-t.serving:
	case <-request.Context().Done():
		return nil, errors.Join(context.Cause(request.Context()), closeBody(request))
	}
	ctx, cancel := context.WithCancel(request.Context())
	inner := incoming(ctx, request)
	writer, release := newResponseWriter(request, cancel)
	go func() {
		defer cancel()
		defer release()
		defer writer.finish()
		defer inner.Body.Close()
		t.handler.ServeHTTP(writer, inner)
	}()
	select {
	case <-writer.started:
		return writer.response, nil
	case <-request.Context().Done():
		// The handler sees the same context and ends by itself.
		return nil, context.Cause(request.Context())
	}
}

// incoming is the request as a server sees it.
func incoming(ctx context.Context, request *http.Request) *http.Request {
	inner := request.Clone(ctx)
	inner.RemoteAddr = remoteAddr
	inner.RequestURI = request.URL.RequestURI()
	inner.Proto, inner.ProtoMajor, inner.ProtoMinor = "HTTP/2.0", 2, 0
	if inner.Host == "" {
		inner.Host = request.URL.Host
	}
	if inner.Body == nil {
		inner.Body = http.NoBody
	}
	return inner
}

func closeBody(request *http.Request) error {
	if request.Body == nil {
		return nil
	}
	return request.Body.Close()
}
