package kube

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/podruntime/kube/podspec"
)

// Defaults of a Config.
const (
	// DefaultParallelism bounds what one moment costs the server's CPU: a
	// handshake is about a millisecond of it.
	DefaultParallelism = 64
	// DefaultStartTimeout is far above what an agent takes to listen, and bears
	// with a network that is set up a while after the container.
	DefaultStartTimeout = 60 * time.Second
	// DefaultDeleteTimeout is above what a busy kubelet takes to end a pod.
	DefaultDeleteTimeout = 2 * time.Minute
)

// Reach says how agents are reached.
type Reach string

// Values of Reach.
const (
	// Auto tries the pod's address, and tunnels as long as no pod was ever
	// reached by its address.
	Auto Reach = "auto"
	// Direct uses the pod's address.
	Direct Reach = "direct"
	// Tunnel goes through the API server.
	Tunnel Reach = "tunnel"
)

// Tunneler connects to pods without a route to them. *tunnel.Dialer does.
type Tunneler interface {
	Dial(ctx context.Context, namespace, pod string, port int32) (net.Conn, error)
}

// Credentials are what the server shows agents.
type Credentials struct {
	// Authorities are the certificates, PEM, of the authorities whose clients
	// new pods are to obey. Nobody but this server may have a certificate for clients by them.
	Authorities []byte
	// Certificates are the server's own, the best first.
	Certificates []tls.Certificate
}

// Config says how to make pods. Client, Image and Credentials are needed.
type Config struct {
	// Client reaches the cluster.
	Client kubernetes.Interface
	// Namespaces are those in which pods are watched for; empty means all.
	Namespaces []string
	// Image holds the agent; PullPolicy is how nodes get it.
	Image      string
	PullPolicy corev1.PullPolicy
	// Port is where agents listen; 0 means podspec.DefaultPort.
	Port int32
	// NonRoot asks for runAsNonRoot where a template does not say.
	NonRoot bool
	// StorageLimit is the limit of ephemeral-storage of pods whose template has none; zero means none.
	StorageLimit resource.Quantity
	// Credentials is called for each pod and each connection, concurrently.
	Credentials func() (Credentials, error)
	// Records keeps which pods were created, beyond the process. Nil keeps them in memory: a later
	// runtime then uses no pod of an earlier one.
	Records Records
	// Reach is how agents are reached; empty means Auto, or Direct if Tunneler is nil.
	Reach Reach
	// Tunneler is needed for Auto and Tunnel.
	Tunneler Tunneler
	// Parallelism bounds how many agents are asked at the same time; 0 means DefaultParallelism.
	Parallelism int
	// StartTimeout bounds the wait for an agent's answer once its container
	// runs; 0 means DefaultStartTimeout.
	StartTimeout time.Duration
	// DeleteTimeout is how long a node gets to end a pod before the pod is
	// removed by force; 0 means DefaultDeleteTimeout.
	DeleteTimeout time.Duration
	// Clock times all waits; nil means the real one.
	Clock clock.WithTicker
	// direct connects to a pod's address; tests take the route away.
	direct func(ctx context.Context, address string) (net.Conn, error)
}

// complete fills in defaults and checks the rest.
func (c *Config) complete() error {
	if c.Client == nil || c.Image == "" || c.Credentials == nil {
		return errors.New("the configuration needs Client, Image and Credentials")
	}
	if c.Records == nil {
		c.Records = &memoryRecords{complete: true}
	}
	if c.Reach == "" && c.Tunneler == nil {
		c.Reach = Direct
	}
	if c.Reach == "" {
		c.Reach = Auto
	}
	if !slices.Contains([]Reach{Auto, Direct, Tunnel}, c.Reach) {
		return fmt.Errorf("agents can be reached %q, %q or %q, not %q", Auto, Direct, Tunnel, c.Reach)
	}
	if c.Reach != Direct && c.Tunneler == nil {
		return fmt.Errorf("to reach agents %q needs Tunneler", c.Reach)
	}
	if len(c.Namespaces) == 0 {
		c.Namespaces = []string{corev1.NamespaceAll}
	}
	if c.Port == 0 {
		c.Port = podspec.DefaultPort
	}
	if c.Port < 1 || c.Port > 65535 {
		return fmt.Errorf("the agents' port is %d: must be 1 to 65535", c.Port)
	}
	if c.Parallelism <= 0 {
		c.Parallelism = DefaultParallelism
	}
	if c.StartTimeout <= 0 {
		c.StartTimeout = DefaultStartTimeout
	}
	if c.DeleteTimeout <= 0 {
		c.DeleteTimeout = DefaultDeleteTimeout
	}
	if c.direct == nil {
		c.direct = dialDirect
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	return nil
}
