package probe

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"arl.io/arl/pkg/agent/process"
	"arl.io/arl/pkg/agent/wire"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// tried makes one attempt, and compares the error's text with what it must hold; "" means success.
func tried(t *testing.T, p *Prober, probe wire.Probe, timeout time.Duration, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	err := p.try(ctx, &probe)
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestExecProbe(t *testing.T) {
	supervisor, err := process.New(process.Config{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := &Prober{config: Config{Supervisor: supervisor, Dir: dir, Env: append(os.Environ(), "FROM=image")}}
	for _, test := range []struct {
		name, script, want string
		timeout            time.Duration
	}{
		{"succeeds", `[ "$FROM" = image ] && [ "$(pwd -P)" = "$(cd ` + dir + ` && pwd -P)" ]`, "", patience},
		{"fails", "echo not yet >&2; exit 3", "sh exited with code 3: not yet", patience},
		{"says much", "yes | head -c 100000; exit 1", "sh exited with code 1: y", patience},
		{"hangs", "sleep 300", "no success within timeoutSeconds (1): sh was stopped", 100 * time.Millisecond},
		{"leaves something running", "sleep 300 &", "", patience},
	} {
		t.Run(test.name, func(t *testing.T) {
			probe := wire.Probe{Exec: &wire.ExecProbe{Command: []string{"sh", "-c", test.script}}, TimeoutSeconds: 1}
			tried(t, p, probe, test.timeout, test.want)
		})
	}
	tried(t, p, wire.Probe{Exec: &wire.ExecProbe{Command: []string{"/no/such/program"}}}, patience, "/no/such/program: no such file")
	supervisor.EndLeft()
	supervisor.Close()
}

// portOf returns the port of an address.
func portOf(t *testing.T, address string) int32 {
	t.Helper()
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return int32(port)
}

// closedPort returns a port on which nothing listens.
func closedPort(t *testing.T) int32 {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return portOf(t, listener.Addr().String())
}

func TestHTTPProbe(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "a=b" || r.Host != "name.example" || r.Header.Get("X-Key") != "value" || r.Header.Get("Accept") != "text/plain" {
			http.Error(w, r.URL.String()+" "+r.Host, http.StatusTeapot)
		}
	})
	mux.HandleFunc("/busy", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "warming up", http.StatusServiceUnavailable)
	})
	mux.HandleFunc("/near", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/busy", http.StatusFound) })
	mux.HandleFunc("/far", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://no.such.host.example/", http.StatusFound)
	})
	mux.HandleFunc("/round", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/round", http.StatusFound) })
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/{$}", func(http.ResponseWriter, *http.Request) {})
	plain, secure := httptest.NewServer(mux), httptest.NewTLSServer(mux)
	defer plain.Close()
	defer secure.Close()
	headers := []wire.Header{{Name: "host", Value: "name.example"}, {Name: "x-key", Value: "value"}, {Name: "accept", Value: "text/plain"}}
	for _, server := range []*httptest.Server{plain, secure} {
		address, err := url.Parse(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		port := portOf(t, address.Host)
		for _, test := range []struct {
			path, want string
			timeout    time.Duration
		}{
			{"", "", patience},
			{"/ok?a=b", "", patience},
			{"ok?a=b", "", patience},
			{"/busy", "status 503: warming up", patience},
			{"/near", "status 503: warming up", patience},
			{"/far", "", patience},
			{"/round", "more than 10 redirects", patience},
			{"/slow", "no success within timeoutSeconds (1)", 100 * time.Millisecond},
			{"/none", "status 404", patience},
		} {
			t.Run(address.Scheme+" "+test.path, func(t *testing.T) {
				probe := wire.Probe{TimeoutSeconds: 1, HTTPGet: &wire.HTTPProbe{
					Scheme: strings.ToUpper(address.Scheme), Port: port, Path: test.path, Headers: headers,
				}}
				tried(t, nil, probe, test.timeout, test.want)
			})
		}
	}
	tried(t, nil, wire.Probe{HTTPGet: &wire.HTTPProbe{Port: closedPort(t)}}, patience, "connection refused")
}

func TestTCPProbe(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("this machine has no %s: %v", address, err)
			continue
		}
		tried(t, nil, wire.Probe{TCPSocket: &wire.TCPProbe{Port: portOf(t, listener.Addr().String())}}, patience, "")
		listener.Close()
	}
	tried(t, nil, wire.Probe{TCPSocket: &wire.TCPProbe{Port: closedPort(t)}}, patience, "connection refused")
}

// The probe speaks with a server that gRPC's own library makes.
func TestGRPCProbe(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, service := grpc.NewServer(), health.NewServer()
	grpc_health_v1.RegisterHealthServer(server, service)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	service.SetServingStatus("down", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	service.SetServingStatus("new", grpc_health_v1.HealthCheckResponse_UNKNOWN)
	port := portOf(t, listener.Addr().String())
	for service, want := range map[string]string{"": "", "down": `service "down"`, "new": "UNKNOWN", "none": "gRPC status 5: unknown service"} {
		tried(t, nil, wire.Probe{GRPC: &wire.GRPCProbe{Port: port, Service: service}}, patience, want)
	}
	tried(t, nil, wire.Probe{GRPC: &wire.GRPCProbe{Port: closedPort(t)}}, patience, "connection refused")

	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	tried(t, nil, wire.Probe{GRPC: &wire.GRPCProbe{Port: portOf(t, other.Listener.Addr().String())}}, patience, "gRPC health check")
}
