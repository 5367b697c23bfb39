package tunnel

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/portforward"
	apiproxy "k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const path = "/api/v1/namespaces/space/pods/pod/portforward"

// node does for the test what a kubelet does, behind the very code by which a
// kube-apiserver passes tunnels on.
type node struct {
	// target is where connections go; if empty, the node says that they fail.
	target string
	group  sync.WaitGroup
}

func (n *node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, err := httpstream.Handshake(r, w, []string{portforward.PortForwardV1Name}); err != nil {
		return
	}
	streams := make(chan httpstream.Stream, 2)
	session := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(stream httpstream.Stream, _ <-chan struct{}) error {
		streams <- stream
		return nil
	})
	if session == nil {
		return
	}
	defer session.Close()
	pair := map[string]httpstream.Stream{}
	for len(pair) < 2 {
		select {
		case stream := <-streams:
			pair[stream.Headers().Get(corev1.StreamType)] = stream
		case <-session.CloseChan():
			return
		}
	}
	n.forward(pair[corev1.StreamTypeData], pair[corev1.StreamTypeError])
	<-session.CloseChan()
}

func (n *node) forward(data, failures httpstream.Stream) {
	defer failures.Close()
	if n.target == "" {
		fmt.Fprintf(failures, "nobody listens on port %s", data.Headers().Get(corev1.PortHeader))
		data.Close()
		return
	}
	conn, err := net.Dial("tcp", n.target)
	if err != nil {
		fmt.Fprint(failures, err)
		data.Close()
		return
	}
	defer conn.Close()
	n.group.Go(func() {
		_, _ = io.Copy(conn, data)
		_ = conn.(*net.TCPConn).CloseWrite()
	})
	_, _ = io.Copy(data, conn)
	data.Close()
}

// dialer returns a Dialer whose API server passes tunnels on to n.
func dialer(t *testing.T, n *node) *Dialer {
	t.Helper()
	kubelet := httptest.NewServer(n)
	t.Cleanup(kubelet.Close)
	tunnels := passOn(t, kubelet)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer secret":
			http.Error(w, "who is there?", http.StatusUnauthorized)
		case r.URL.Path != path:
			http.NotFound(w, r)
		default:
			tunnels.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		server.Close()
		n.group.Wait()
	})
	d, err := New(&rest.Config{Host: server.URL, BearerToken: "secret", TLSClientConfig: rest.TLSClientConfig{Insecure: true}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// passOn returns what a kube-apiserver has for requests to a kubelet.
func passOn(t *testing.T, kubelet *httptest.Server) http.Handler {
	t.Helper()
	location, err := url.Parse(kubelet.URL)
	if err != nil {
		t.Fatal(err)
	}
	handler := apiproxy.NewUpgradeAwareHandler(location, http.DefaultTransport, false, true, responder{})
	return proxy.NewTunnelingHandler(handler)
}

type responder struct{}

func (responder) Error(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusBadGateway)
}

// echo listens and sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		group.Wait()
	})
	return listener.Addr().String()
}

func TestDial(t *testing.T) {
	conn, err := dialer(t, &node{target: echo(t)}).Dial(t.Context(), "space", "pod", 7317)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sent := make([]byte, 1<<20)
	if _, err := rand.Read(sent); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() {
		if err := conn.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Error(err)
		}
		if _, err := conn.Write(sent); err != nil {
			t.Error(err)
		}
	})
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Error("other bytes came back than were sent")
	}
}

// TestHTTP2 has many requests at once share one tunnel, as those to an agent do.
func TestHTTP2(t *testing.T) {
	target := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(w, r.Body); err != nil {
			t.Error(err)
		}
	}))
	target.EnableHTTP2 = true
	target.StartTLS()
	t.Cleanup(target.Close)
	d := dialer(t, &node{target: target.Listener.Addr().String()})
	var dialled atomic.Int32
	transport := target.Client().Transport.(*http.Transport).Clone()
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		dialled.Add(1)
		return d.Dial(ctx, "space", "pod", 7317)
	}
	t.Cleanup(transport.CloseIdleConnections)
	c := &http.Client{Transport: transport}
	send := func(body []byte) {
		response, err := c.Post(target.URL, "", bytes.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		defer response.Body.Close()
		got, err := io.ReadAll(response.Body)
		if err != nil || !bytes.Equal(got, body) || response.ProtoMajor != 2 {
			t.Errorf("%d bytes of %d came back by HTTP/%d, %v", len(got), len(body), response.ProtoMajor, err)
		}
	}
	// The first makes the connection, which the others then share.
	send([]byte("hello"))
	var group sync.WaitGroup
	for i := range 10 {
		group.Go(func() { send(bytes.Repeat([]byte{byte(i)}, 200<<10)) })
	}
	group.Wait()
	if n := dialled.Load(); n != 1 {
		t.Errorf("%d tunnels were made", n)
	}
}

func TestDialFails(t *testing.T) {
	t.Run("the node cannot connect", func(t *testing.T) {
		conn, err := dialer(t, &node{}).Dial(t.Context(), "space", "pod", 7317)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "nobody listens on port 7317") {
			t.Errorf("Read: %v", err)
		}
	})
	t.Run("no such pod", func(t *testing.T) {
		_, err := dialer(t, &node{}).Dial(t.Context(), "space", "other", 7317)
		if err == nil || !strings.Contains(err.Error(), "404") {
			t.Errorf("Dial: %v", err)
		}
		if apierrors.IsNotFound(err) {
			t.Error("a plain 404 is no status")
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := dialer(t, &node{target: echo(t)}).Dial(ctx, "space", "pod", 7317); !errors.Is(err, context.Canceled) {
			t.Errorf("Dial: %v", err)
		}
	})
}

func TestWriteDeadline(t *testing.T) {
	conn, err := dialer(t, &node{target: echo(t)}).Dial(t.Context(), "space", "pod", 7317)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, step := range []struct {
		deadline time.Time
		want     error
	}{
		{time.Now().Add(-time.Second), os.ErrDeadlineExceeded},
		{time.Now().Add(time.Hour), nil},
		{time.Time{}, nil},
	} {
		if err := conn.SetWriteDeadline(step.deadline); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("x")); !errors.Is(err, step.want) {
			t.Errorf("Write until %v: %v, want %v", step.deadline, err, step.want)
		}
	}
	if err := conn.SetWriteDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	// Once it is cut off there is nothing more to read.
	if _, err := io.Copy(io.Discard, conn); err == nil {
		for {
			if _, err := conn.Write([]byte("x")); err != nil {
				break
			}
		}
	}
}

// TestDialIsBounded has a node that takes the tunnel and then says nothing.
func TestDialIsBounded(t *testing.T) {
	release := make(chan struct{})
	kubelet := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer kubelet.Close()
	server := httptest.NewTLSServer(passOn(t, kubelet))
	defer server.Close()
	defer close(release)
	d, err := New(&rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{Insecure: true}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := d.Dial(ctx, "space", "pod", 7317); err == nil {
		t.Error("Dial made a connection to a node that said nothing")
	}
}
