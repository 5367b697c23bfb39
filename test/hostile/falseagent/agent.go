package falseagent

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"arl.io/arl/pkg/agent/wire"
)

// Variables of a pod's environment.
const (
	// LieVariable names the lie that the pod's agent tells.
	LieVariable = "ARL_FALSE_AGENT"
	// TargetVariable is the host:port to which the lie "redirect" sends the server.
	TargetVariable = "ARL_FALSE_AGENT_TARGET"
)

// lie is one way to answer. What is nil is answered as an honest agent would.
type lie struct {
	// stream answers a request for the events of an execution.
	stream func(*stream)
	// health answers the question how the agent is, once an execution was posted.
	health func(*agent, http.ResponseWriter, *http.Request)
}

// lies are all there are, by name.
var lies = map[string]lie{}

func register(group map[string]lie) map[string]lie {
	for name, each := range group {
		lies[name] = each
	}
	return group
}

// Lies returns the names of all lies, sorted.
func Lies() []string {
	var names []string
	for name := range lies {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// agent is a false agent that serves.
type agent struct {
	lie      lie
	podUID   string
	probed   bool
	instance string
	// target is where the lie "redirect" sends the server, and scheme how this agent is reached.
	target, scheme string

	mu sync.Mutex
	// posted are the executions by ID, as posted.
	posted map[string]wire.Execution
}

// Serve serves with the flags of "arl-agent serve", of which it knows those it needs, until the
// process is killed.
func Serve(args []string) error {
	a := &agent{instance: rand.Text(), target: os.Getenv(TargetVariable), posted: map[string]wire.Execution{}}
	name := os.Getenv(LieVariable)
	known := false
	if a.lie, known = lies[name]; !known {
		return fmt.Errorf("there is no lie %q; there are %q", name, Lies())
	}
	options := readOptions(args)
	a.podUID, a.probed, a.scheme = options.podUID, options.probes != "", "http"
	if options.listenTLS != "" {
		a.scheme = "https"
	}
	listener, err := options.listen()
	if err != nil {
		return err
	}
	// The connection is a plain one to the HTTP server, with TLS or without, so that frames can be
	// put between its own.
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler: a.handler(), Protocols: protocols, ReadHeaderTimeout: time.Minute,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, conn)
		},
	}
	return server.Serve(sharedListener{listener})
}

func (a *agent) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/health", a.serveHealth)
	mux.HandleFunc("POST /v1/executions", a.servePost)
	mux.HandleFunc("GET /v1/executions/{id}/events", func(w http.ResponseWriter, r *http.Request) {
		a.serveEvents(w, r, r.PathValue("id"))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, struct{}{}) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(wire.InstanceHeader, a.instance)
		mux.ServeHTTP(w, r)
	})
}

// known is what the agent has reported of the executions so far.
func (a *agent) known() (ids []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id := range a.posted {
		ids = append(ids, id)
	}
	return ids
}

func (a *agent) serveHealth(w http.ResponseWriter, r *http.Request) {
	if a.lie.health != nil && len(a.known()) > 0 {
		a.lie.health(a, w, r)
		return
	}
	answer(w, http.StatusOK, a.honest())
}

// honest is what an honest agent answers.
func (a *agent) honest() wire.Health {
	health := wire.Health{ProtocolVersion: wire.ProtocolVersion, Version: "false", PodUID: a.podUID, Used: len(a.known()) > 0}
	if a.probed {
		health.Readiness = &wire.Readiness{State: wire.Ready}
	}
	return health
}

func (a *agent) servePost(w http.ResponseWriter, r *http.Request) {
	var request wire.Execution
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		answer(w, http.StatusBadRequest, wire.Error{Code: wire.CodeInvalid, Message: err.Error()})
		return
	}
	a.mu.Lock()
	a.posted[request.ID] = request
	a.mu.Unlock()
	a.serveEvents(w, r, request.ID)
}

func (a *agent) serveEvents(w http.ResponseWriter, r *http.Request, id string) {
	a.mu.Lock()
	request := a.posted[id]
	a.mu.Unlock()
	s := &stream{agent: a, w: w, r: r, execution: request, control: http.NewResponseController(w)}
	if a.lie.stream == nil {
		s.begin()
		s.finish(s.result())
		return
	}
	a.lie.stream(s)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// Only the server's going away makes this fail.
	_ = json.NewEncoder(w).Encode(body)
}

// options are those flags of "arl-agent serve" that matter here.
type options struct {
	listenFD                                                   int
	listenTLS, listenUnix, cert, key, clientCA, podUID, probes string
}

func readOptions(args []string) (o options) {
	flags := flag.NewFlagSet("false agent", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.IntVar(&o.listenFD, "listen-fd", -1, "")
	for name, value := range map[string]*string{
		"listen-tls": &o.listenTLS, "listen-unix": &o.listenUnix, "tls-cert": &o.cert, "tls-key": &o.key,
		"client-ca": &o.clientCA, "pod-uid": &o.podUID, wire.ProbesFlag: &o.probes,
	} {
		flags.StringVar(value, name, "", "")
	}
	// Whatever else the real agent takes is passed over.
	for len(args) > 0 && args[0] != "--" {
		// Parse ends with an error after a flag that it does not know, and without one before a word.
		if err := flags.Parse(args); err == nil && flags.NArg() > 0 {
			args = flags.Args()[1:]
			continue
		}
		args = flags.Args()
	}
	return o
}
