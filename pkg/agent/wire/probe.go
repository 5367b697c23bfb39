package wire

// ProbesFlag is the flag of "arl-agent serve" that takes the template's probes:
// Probes as JSON. Whoever starts the agent passes it; without it there is no
// Health.Readiness.
const ProbesFlag = "probes"

// Probes are the template's probes that the agent carries out, with the
// semantics of Kubernetes: the readiness probe begins when the startup probe has succeeded.
type Probes struct {
	Startup   *Probe `json:"startup,omitempty"`
	Readiness *Probe `json:"readiness,omitempty"`
}

// Probe is one probe: exactly one of Exec, HTTPGet, TCPSocket and GRPC is set.
// The numbers have the defaults of Kubernetes where they are 0.
type Probe struct {
	Exec      *ExecProbe `json:"exec,omitempty"`
	HTTPGet   *HTTPProbe `json:"httpGet,omitempty"`
	TCPSocket *TCPProbe  `json:"tcpSocket,omitempty"`
	GRPC      *GRPCProbe `json:"grpc,omitempty"`

	// InitialDelaySeconds is the wait before the first attempt. Default 0.
	InitialDelaySeconds int32 `json:"initialDelaySeconds,omitempty"`
	// TimeoutSeconds bounds an attempt. Default 1.
	TimeoutSeconds int32 `json:"timeoutSeconds,omitempty"`
	// PeriodSeconds is the time between the beginnings of two attempts. Default 10.
	PeriodSeconds int32 `json:"periodSeconds,omitempty"`
	// SuccessThreshold is how many attempts in a row have to succeed after a
	// failure. Default 1, which is the only value for a startup probe.
	SuccessThreshold int32 `json:"successThreshold,omitempty"`
	// FailureThreshold is how many attempts in a row have to fail. Default 3.
	FailureThreshold int32 `json:"failureThreshold,omitempty"`
}

// ExecProbe succeeds if the command exits with code 0. It runs in the agent's
// working directory with the environment of the template's own command.
type ExecProbe struct {
	Command []string `json:"command"`
}

// HTTPProbe succeeds if the answer has a status of 200 to 399. Certificates are not verified.
type HTTPProbe struct {
	// Scheme is HTTP or HTTPS. Default HTTP.
	Scheme string `json:"scheme,omitempty"`
	// Host is where to connect to. Default "localhost".
	Host string `json:"host,omitempty"`
	Port int32  `json:"port"`
	// Path may have a query. Default "/".
	Path    string   `json:"path,omitempty"`
	Headers []Header `json:"headers,omitempty"`
}

// Header is one header of a request.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// TCPProbe succeeds if a connection can be made.
type TCPProbe struct {
	// Host is where to connect to. Default "localhost".
	Host string `json:"host,omitempty"`
	Port int32  `json:"port"`
}

// GRPCProbe succeeds if the server's grpc.health.v1.Health service answers SERVING.
type GRPCProbe struct {
	Port    int32  `json:"port"`
	Service string `json:"service,omitempty"`
}

// States of Readiness.
const (
	// Starting: the startup probe has not succeeded yet, or the readiness probe
	// has not since the start.
	Starting = "Starting"
	// Ready: the probes have succeeded.
	Ready = "Ready"
	// NotReady: the readiness probe has failed as often as failureThreshold says.
	NotReady = "NotReady"
	// StartupFailed: the startup probe has failed as often as failureThreshold
	// says. This is final: no probe runs any more.
	StartupFailed = "StartupFailed"
)

// Readiness is what probes have found.
type Readiness struct {
	State string `json:"state"`
	// Message names the probe that the state is waiting for or that failed, and
	// the outcome of its last attempt. Empty if Ready.
	Message string `json:"message,omitempty"`
}
