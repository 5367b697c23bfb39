package kube

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	testingclock "k8s.io/utils/clock/testing"

	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/podruntime"
)

// impatient makes a runtime give up on agents soon.
func impatient(c *Config) { c.StartTimeout = 300 * time.Millisecond }

// TestForeignClients has others than the server speak to an agent, with what
// they may have got hold of.
func TestForeignClients(t *testing.T) {
	h := start(t)
	victim, thief := h.ready("victim"), h.ready("thief")
	agent := h.cluster.agent(victim.UID)
	// All that a step finds in its pod.
	stolen, err := tls.LoadX509KeyPair(
		filepath.Join(h.cluster.agent(thief.UID).dir, wire.CertFile), filepath.Join(h.cluster.agent(thief.UID).dir, wire.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	own, err := tls.LoadX509KeyPair(filepath.Join(agent.dir, wire.CertFile), filepath.Join(agent.dir, wire.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name         string
		certificates []tls.Certificate
		want         error
	}{
		{"the server", []tls.Certificate{h.cluster.ours.client()}, nil},
		{"nobody", nil, client.ErrUnreachable},
		{"a client of another authority", []tls.Certificate{newAuthority(t).client()}, client.ErrUnreachable},
		{"another pod", []tls.Certificate{stolen}, client.ErrUnreachable},
		{"the pod itself", []tls.Certificate{own}, client.ErrUnreachable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			transport := client.TLSTransport(&tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				// Whatever the agent says that it accepts.
				if len(tt.certificates) == 0 {
					return &tls.Certificate{}, nil
				}
				return &tt.certificates[0], nil
			}})
			c := client.New(client.Config{Transport: transport, BaseURL: "https://" + net.JoinHostPort(agent.ip, fmt.Sprint(h.cluster.port))})
			defer c.Close()
			if _, err := c.Health(t.Context()); !errors.Is(err, tt.want) {
				t.Errorf("Health: %v, want %v", err, tt.want)
			}
		})
	}
}

// TestForeignAgent has the agent of one pod at the address of another.
func TestForeignAgent(t *testing.T) {
	h := start(t, impatient)
	other := h.ready("other")
	h.create("a")
	h.cluster.prepare("a")
	h.cluster.set("a", func(pod *corev1.Pod) {
		pod.Status.PodIP = other.IP
		running(pod)
	})
	failed := h.pod("a", podruntime.Failed, podruntime.ReasonStart)
	if !strings.Contains(failed.Message, "it has another key") {
		t.Errorf("message: %q", failed.Message)
	}
	// The agent was told nothing, and goes on for whom it serves.
	if err := h.echo("other", other.UID); err != nil {
		t.Error(err)
	}
}

// TestStolenKey has the pod's own key in the hands of an agent that is not the pod's.
func TestStolenKey(t *testing.T) {
	h := start(t)
	created := h.create("a")
	h.cluster.run("a", "$(ARL_POD_UID)", "other-uid")
	failed := h.pod("a", podruntime.Failed, podruntime.ReasonStart)
	if !strings.Contains(failed.Message, `of pod "other-uid"`) {
		t.Errorf("message: %q", failed.Message)
	}
	if _, err := h.runtime.Agent(created.Key, created.UID); !errors.Is(err, podruntime.ErrNotFound) {
		t.Errorf("Agent: %v", err)
	}
}

// TestRotation replaces the server's certificate, and then its authority, while
// there are pods that know the old one alone.
func TestRotation(t *testing.T) {
	h := start(t)
	pod := h.ready("a")
	before, after := h.cluster.ours, newAuthority(t)
	for _, step := range []struct {
		name  string
		shown []tls.Certificate
		works bool
	}{
		{"another certificate", []tls.Certificate{before.client()}, true},
		{"both authorities", []tls.Certificate{after.client(), before.client()}, true},
		{"the new authority alone", []tls.Certificate{after.client()}, false},
	} {
		h.cluster.show(step.shown...)
		h.stop()
		h = startOn(t, h.cluster, impatient)
		if step.works {
			h.pod("a", podruntime.Ready, "")
			if _, err := h.runtime.Agent(pod.Key, pod.UID); err != nil {
				t.Errorf("%s: %v", step.name, err)
			}
			continue
		}
		failed := h.pod("a", podruntime.Failed, podruntime.ReasonStart)
		if !strings.Contains(failed.Message, "accepts no certificate of this server") {
			t.Errorf("%s: %q", step.name, failed.Message)
		}
	}
}

// tunneler reaches the agents of a cluster some other way.
type tunneler struct {
	cluster *cluster
	dialled atomic.Int32
}

func (d *tunneler) Dial(ctx context.Context, namespace, pod string, port int32) (net.Conn, error) {
	d.dialled.Add(1)
	if namespace != space {
		return nil, fmt.Errorf("no such namespace: %s", namespace)
	}
	agent := d.cluster.agent(d.cluster.get(pod).UID)
	return dialDirect(ctx, net.JoinHostPort(agent.ip, fmt.Sprint(port)))
}

// TestReach has pods with and without an address to which there is a route.
func TestReach(t *testing.T) {
	for _, tt := range []struct {
		reach           Reach
		routed, tunnels bool
	}{
		{Direct, true, false},
		{Tunnel, true, true},
		{Auto, true, false},
		{Auto, false, true},
	} {
		t.Run(fmt.Sprintf("%s, routed %v", tt.reach, tt.routed), func(t *testing.T) {
			c := newCluster(t)
			through := &tunneler{cluster: c}
			h := startOn(t, c, func(config *Config) {
				config.Reach, config.Tunneler = tt.reach, through
				if !tt.routed {
					config.direct = func(context.Context, string) (net.Conn, error) { return nil, syscall.ENETUNREACH }
				}
			})
			for _, name := range []string{"a", "b"} {
				created := h.create(name)
				c.run(name)
				h.pod(name, podruntime.Ready, "")
				if err := h.echo(name, created.UID); err != nil {
					t.Error(err)
				}
				if tunnelled := through.dialled.Load() > 0; tunnelled != tt.tunnels {
					t.Errorf("pod %s: tunnelled: %v", name, tunnelled)
				}
			}
		})
	}
}

// TestRefusalIsNoReasonToTunnel has an agent that does not listen yet.
func TestRefusalIsNoReasonToTunnel(t *testing.T) {
	c := newCluster(t)
	through := &tunneler{cluster: c}
	h := startOn(t, c, impatient, func(config *Config) { config.Reach, config.Tunneler = Auto, through })
	h.create("a")
	c.prepare("a")
	c.set("a", running)
	failed := h.pod("a", podruntime.Failed, podruntime.ReasonStart)
	if !strings.Contains(failed.Message, "connection refused") || through.dialled.Load() != 0 {
		t.Errorf("%d tunnels; message: %q", through.dialled.Load(), failed.Message)
	}
}

// TestRefusalOnTheWay has something refuse connections in the agent's place,
// as network plugins do.
func TestRefusalOnTheWay(t *testing.T) {
	clock := testingclock.NewFakeClock(time.Now())
	c := newCluster(t)
	through := &tunneler{cluster: c}
	h := startOn(t, c, func(config *Config) {
		// However far the clock is before the agent listens, it is not given up.
		config.Reach, config.Tunneler, config.Clock, config.StartTimeout = Auto, through, clock, math.MaxInt64
		config.direct = func(context.Context, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED }
	})
	created := h.create("a")
	c.run("a")
	h.sweepUntil(clock, "the pod to be reached", "a", func(p podruntime.Pod) bool { return p.Phase == podruntime.Ready })
	if err := h.echo("a", created.UID); err != nil {
		t.Error(err)
	}
	if through.dialled.Load() == 0 {
		t.Error("the agent was reached, and not through the tunnel")
	}
}
