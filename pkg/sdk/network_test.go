package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"arl.io/arl/pkg/generated/clientset/versioned"
	"arl.io/arl/pkg/sdk"
)

// network lies between a client and the server, and fails as it is told.
type network struct {
	next http.RoundTripper

	mu sync.Mutex
	// down refuses all requests.
	down bool
	// open ends the responses that are being read.
	open map[int]context.CancelFunc
	// seen are the requests there were, such as "POST tasks" or "WATCH tasks".
	seen []string
	// plans are what happens to the next requests of a kind.
	plans map[string][]fault
}

// fault is what happens to a request instead of an answer.
type fault func(*network, *http.Request) (*http.Response, error)

var errReset = &errOfConnection{syscall.ECONNRESET}

// errOfConnection is what the net package would return.
type errOfConnection struct{ error }

// refused never reaches the server.
func refused(*network, *http.Request) (*http.Response, error) {
	return nil, &errOfConnection{syscall.ECONNREFUSED}
}

// lost reaches the server, and its answer reaches nobody.
func lost(n *network, request *http.Request) (*http.Response, error) {
	response, err := n.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	return nil, errors.Join(errReset, response.Body.Close())
}

// written reaches the server, and what is in front of it gives up waiting.
func written(n *network, request *http.Request) (*http.Response, error) {
	if _, err := lost(n, request); !errors.Is(err, errReset) {
		return nil, err
	}
	return status(http.StatusGatewayTimeout)(n, request)
}

// answered is an answer of a server, or of something in front of it.
func answered(code int, contentType, body string) fault {
	return func(_ *network, request *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/2.0", ProtoMajor: 2, Request: request,
			Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(strings.NewReader(body)),
		}, nil
	}
}

// status is an answer with nothing in it but its code.
func status(code int) fault { return answered(code, "text/plain", http.StatusText(code)) }

// newClient returns a client with a network of its own before the shared server.
func newClient(t *testing.T) (versioned.Interface, *network) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	n := &network{open: map[int]context.CancelFunc{}, plans: map[string][]fault{}}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		n.next = next
		return n
	})
	client, err := sdk.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	return client, n
}

// plan has the next requests of a kind meet faults, one each.
func (n *network) plan(kind string, faults ...fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.plans[kind] = append(n.plans[kind], faults...)
}

// setDown cuts all connections, or lets there be new ones.
func (n *network) setDown(down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = down
	if down {
		for _, end := range n.open {
			end()
		}
	}
}

// count returns how many requests of a kind there were.
func (n *network) count(kind string) (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, seen := range n.seen {
		if seen == kind {
			count++
		}
	}
	return count
}

// await waits until there were so many requests of a kind.
func (n *network) await(t *testing.T, kind string, count int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d requests %s", count, kind), func() error {
		if got := n.count(kind); got < count {
			return fmt.Errorf("there were %d", got)
		}
		return nil
	})
}

// kindOf names what a request is for.
func kindOf(request *http.Request) string {
	parts := strings.Split(strings.Trim(request.URL.Path, "/"), "/")
	verb, resource := request.Method, parts[min(5, len(parts)-1)]
	if request.URL.Query().Get("watch") != "" {
		verb = "WATCH"
	}
	return verb + " " + resource
}

// RoundTrip passes a request on, unless a fault is planned for it.
func (n *network) RoundTrip(request *http.Request) (*http.Response, error) {
	kind := kindOf(request)
	n.mu.Lock()
	id := len(n.seen)
	n.seen = append(n.seen, kind)
	var happens fault
	if n.down {
		happens = refused
	} else if planned := n.plans[kind]; len(planned) > 0 {
		happens, n.plans[kind] = planned[0], planned[1:]
	}
	if happens != nil {
		n.mu.Unlock()
		return happens(n, request)
	}
	ctx, end := context.WithCancel(request.Context())
	n.open[id] = end
	n.mu.Unlock()
	response, err := n.next.RoundTrip(request.WithContext(ctx))
	if err != nil {
		n.forget(id)
		return nil, err
	}
	response.Body = &body{ReadCloser: response.Body, closed: func() { n.forget(id) }}
	return response, nil
}

func (n *network) forget(id int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if end := n.open[id]; end != nil {
		end()
	}
	delete(n.open, id)
}

// body tells when it is closed.
type body struct {
	io.ReadCloser
	closed func()
}

func (b *body) Close() error {
	b.closed()
	return b.ReadCloser.Close()
}

// eventually waits until check returns no error.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		}
		<-time.After(5 * time.Millisecond)
	}
}
