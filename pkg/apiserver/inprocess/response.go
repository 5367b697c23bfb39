package inprocess

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/endpoints/responsewriter"
)

// responseWriter is the handler's side of a response. What is written waits in
// a buffer until the client reads it, so a handler that answers at once never
// waits for its client; one that streams is bounded by limit.
type responseWriter struct {
	response *http.Response
	header   http.Header
	started  chan struct{} // closed when response is complete but for its body
	cancel   context.CancelFunc
	gone     chan bool // has room for one: that the client has closed the body

	mu       sync.Mutex
	changed  *sync.Cond
	buffer   []byte
	finished bool  // the handler has returned
	closed   bool  // the client has closed the body
	expired  error // why the request's context has ended, if it has
	failure  error // what reading ends with instead of io.EOF
	wrote    bool  // the header is sent
}

// limit is how much of a body may wait for the client.
const limit = 4 << 20

// The API server's own wrappers pass on Flush only of a writer that has
// CloseNotify as well, as those of an HTTP/2 server do; watches need Flush.
var _ responsewriter.CloseNotifierFlusher = (*responseWriter)(nil)

// newResponseWriter returns the writer for a request. The caller calls release when neither side
// waits any more.
func newResponseWriter(request *http.Request, cancel context.CancelFunc) (w *responseWriter, release func() bool) {
	w = &responseWriter{header: http.Header{}, started: make(chan struct{}), cancel: cancel, gone: make(chan bool, 1)}
	w.changed = sync.NewCond(&w.mu)
	w.response = &http.Response{
		Proto: "HTTP/2.0", ProtoMajor: 2, ContentLength: -1, Request: request, Body: (*body)(w),
	}
	ctx := request.Context()
	return w, context.AfterFunc(ctx, func() { w.expire(context.Cause(ctx)) })
}

// expire ends all waiting on either side, with the reason for which the request's context ended.
func (w *responseWriter) expire(cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expired = cause
	w.changed.Broadcast()
}

// Header implements http.ResponseWriter.
func (w *responseWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter. The client has its response from then on.
func (w *responseWriter) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeaderLocked(status)
}

func (w *responseWriter) writeHeaderLocked(status int) {
	if w.wrote || status < http.StatusOK && status != http.StatusSwitchingProtocols {
		return
	}
	w.wrote = true
	w.response.StatusCode = status
	w.response.Status = fmt.Sprintf("%d %s", status, http.StatusText(status))
	w.response.Header = w.header.Clone()
	close(w.started)
}

// Write implements http.ResponseWriter. It waits while more than limit is unread. If the client has
// closed the body, returns io.ErrClosedPipe; if the request's context has ended, returns its cause.
func (w *responseWriter) Write(data []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeaderLocked(http.StatusOK)
	for len(w.buffer) > limit && !w.closed && w.expired == nil {
		w.changed.Wait()
	}
	switch {
	case w.closed:
		return 0, io.ErrClosedPipe
	case w.expired != nil:
		return 0, w.expired
	}
	w.buffer = append(w.buffer, data...)
	w.changed.Broadcast()
	return len(data), nil
}

// Flush implements http.Flusher. Everything is readable as soon as it is
// written; what is left to do is to send the header.
func (w *responseWriter) Flush() { w.WriteHeader(http.StatusOK) }

// CloseNotify implements http.CloseNotifier. Handlers had better watch their context.
func (w *responseWriter) CloseNotify() <-chan bool { return w.gone }

// SetReadDeadline and SetWriteDeadline let http.ResponseController succeed:
// there is no connection that could hang.
func (w *responseWriter) SetReadDeadline(time.Time) error  { return nil }
func (w *responseWriter) SetWriteDeadline(time.Time) error { return nil }

// finish ends the response when the handler returns or panics.
func (w *responseWriter) finish() {
	failure := recover()
	w.mu.Lock()
	defer w.mu.Unlock()
	if failure != nil {
		w.failure = fmt.Errorf("the server panicked: %v", failure)
		if failure != http.ErrAbortHandler {
			w.failure = fmt.Errorf("%w\n%s", w.failure, debug.Stack())
		}
		w.writeHeaderLocked(http.StatusInternalServerError)
	}
	w.writeHeaderLocked(http.StatusOK)
	w.finished = true
	w.changed.Broadcast()
}

// body is the client's side.
type body responseWriter

// Read implements io.Reader. If the request's context ends before the handler has, returns its cause.
func (b *body) Read(into []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.buffer) == 0 && !b.finished && !b.closed && b.expired == nil {
		b.changed.Wait()
	}
	switch {
	case b.closed:
		return 0, http.ErrBodyReadAfterClose
	case len(b.buffer) > 0:
		n := copy(into, b.buffer)
		if b.buffer = b.buffer[n:]; len(b.buffer) == 0 {
			b.buffer = nil
		}
		b.changed.Broadcast()
		return n, nil
	case b.failure != nil:
		return 0, b.failure
	case !b.finished:
		return 0, b.expired
	default:
		return 0, io.EOF
	}
}

// Close implements io.Closer. It ends the handler's context.
func (b *body) Close() error {
	b.mu.Lock()
	if !b.closed {
		b.gone <- true
	}
	b.closed = true
	b.buffer = nil
	b.changed.Broadcast()
	b.mu.Unlock()
	b.cancel()
	return nil
}
