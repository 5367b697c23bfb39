// Package tunnel connects to a port of a pod by way of the API server and the
// node, as kubectl port-forward does: pods/portforward, over a WebSocket. It needs
// Kubernetes 1.31 or newer.
//
// Every connection is a WebSocket of its own with one pair of SPDY streams in it;
// the agent's HTTP/2 makes do with one connection for each pod. The libraries' goroutines
// end with the connection that Close closes. Read this file first, then conn.go.
package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/portforward"
	"k8s.io/client-go/rest"
	clientportforward "k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/websocket"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// pingPeriod keeps idle connections from being cut off on the way, and notices
// those that are.
const pingPeriod = 10 * time.Second

// Dialer is safe for concurrent use.
type Dialer struct {
	config *rest.Config
	base   *url.URL
}

// New returns a dialer that speaks to the API server of config.
func New(config *rest.Config) (*Dialer, error) {
	config = rest.CopyConfig(config)
	config.APIPath, config.GroupVersion = "/api", &corev1.SchemeGroupVersion
	base, prefix, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("tunnels through the API server: %w", err)
	}
	return &Dialer{config: config, base: base.JoinPath(prefix)}, nil
}

// Dial connects to a port of a pod. ctx bounds the making of the connection alone.
// Whether somebody listens there is learned by the first read.
func (d *Dialer) Dial(ctx context.Context, namespace, pod string, port int32) (net.Conn, error) {
	conn, err := d.dial(ctx, namespace, pod, port)
	if err != nil {
		return nil, fmt.Errorf("tunnel to port %d of pod %s/%s: %w", port, namespace, pod, err)
	}
	return conn, nil
}

func (d *Dialer) dial(ctx context.Context, namespace, pod string, port int32) (net.Conn, error) {
	target := d.base.JoinPath("namespaces", namespace, "pods", pod, "portforward")
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	roundTripper, holder, err := websocket.RoundTripperFor(d.config)
	if err != nil {
		return nil, err
	}
	socket, err := websocket.Negotiate(roundTripper, holder, request, portforward.WebsocketsSPDYTunnelingPortForwardV1)
	if err != nil {
		return nil, err
	}
	carrier := clientportforward.NewTunnelingConnectionWithLogger(klog.FromContext(ctx), socket)
	session, err := spdy.NewClientConnectionWithPings(carrier, pingPeriod)
	if err != nil {
		return nil, err
	}
	// The libraries' calls below end early only if the connection does.
	stop := context.AfterFunc(ctx, func() { _ = carrier.Close() })
	made, err := open(session, carrier, port)
	if !stop() {
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		return nil, errors.Join(err, session.Close())
	}
	return made, nil
}

// open makes the pair of streams for a port.
func open(session httpstream.Connection, carrier net.Conn, port int32) (*conn, error) {
	headers := http.Header{}
	headers.Set(corev1.PortHeader, strconv.Itoa(int(port)))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	failures, err := session.CreateStream(headers)
	if err != nil {
		return nil, fmt.Errorf("opening the stream of errors: %w", err)
	}
	// Nothing is written to it.
	if err := failures.Close(); err != nil {
		return nil, fmt.Errorf("opening the stream of errors: %w", err)
	}
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := session.CreateStream(headers)
	if err != nil {
		return nil, fmt.Errorf("opening the stream of data: %w", err)
	}
	return &conn{session: session, carrier: carrier, data: data, failures: failures}, nil
}
