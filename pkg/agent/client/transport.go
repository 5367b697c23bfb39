package client

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

const (
	// dialTimeout bounds how long a connection may take to be made.
	dialTimeout = 3 * time.Second
	// pingAfter of silence, a connection is probed; without an answer within
	// pingTimeout it is given up, and its streams are broken.
	pingAfter   = 10 * time.Second
	pingTimeout = 5 * time.Second
	// writeTimeout is how long a connection may take no byte before it is given up.
	writeTimeout = 30 * time.Second
	// streamBuffer is what a stream holds in memory before it holds up the agent: the outcome of a
	// task with all the output that it may have, as JSON. connBuffer is the same of all streams of a
	// connection together, and frameBuffer of a frame of HTTP/2.
	streamBuffer = 128 << 10
	connBuffer   = 256 << 10
	frameBuffer  = 16 << 10
	// maxHeaders bounds the headers of an answer, of which there is one that is read. HTTP/2 cuts off
	// a connection whose CONTINUATION frames go on beyond it.
	maxHeaders = 16 << 10
)

// NewUnix returns a client of the agent that listens on a unix socket.
func NewUnix(socketPath string) *Client {
	return New(UnixConfig(socketPath))
}

// UnixConfig returns the Config of NewUnix.
func UnixConfig(socketPath string) Config {
	return Config{Transport: UnixTransport(socketPath), BaseURL: "http://agent"}
}

// NewTLS returns a client of the agent that listens on address, host:port.
func NewTLS(address string, config *tls.Config) *Client {
	return New(Config{Transport: TLSTransport(config), BaseURL: "https://" + address})
}

// UnixTransport returns a transport that speaks HTTP/2 without encryption to
// the socket, whatever host a request names.
func UnixTransport(socketPath string) *http.Transport {
	dialer := net.Dialer{Timeout: dialTimeout}
	transport := newTransport()
	transport.Protocols.SetUnencryptedHTTP2(true)
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "unix", socketPath)
	}
	return transport
}

// TLSTransport returns a transport that speaks HTTP/2 over TLS.
func TLSTransport(config *tls.Config) *http.Transport {
	dialer := net.Dialer{Timeout: dialTimeout}
	transport := newTransport()
	transport.Protocols.SetHTTP2(true)
	transport.DialContext = dialer.DialContext
	transport.TLSClientConfig = config.Clone()
	transport.TLSHandshakeTimeout = dialTimeout
	return transport
}

func newTransport() *http.Transport {
	return &http.Transport{
		Protocols:              new(http.Protocols),
		DisableCompression:     true,
		IdleConnTimeout:        5 * time.Minute,
		MaxResponseHeaderBytes: maxHeaders,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:  pingAfter,
			PingTimeout:      pingTimeout,
			WriteByteTimeout: writeTimeout,
			// An agent that takes few requests at a time, or none, has others wait, and gets no
			// further connection for each.
			StrictMaxConcurrentRequests:   true,
			MaxReadFrameSize:              frameBuffer,
			MaxReceiveBufferPerStream:     streamBuffer,
			MaxReceiveBufferPerConnection: connBuffer,
		},
	}
}
