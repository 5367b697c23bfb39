package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/podruntime"
)

// readinessPause is between two questions to the agent of a pod with probes. The shortest period of a
// probe is a second.
const readinessPause = 500 * time.Millisecond

// readProbes translates the template's probes for the agent, which carries them out.
func (p *plan) readProbes(at string, container *corev1.Container) error {
	var probes wire.Probes
	for _, probe := range []struct {
		field string
		from  *corev1.Probe
		to    **wire.Probe
	}{
		{at + ".startupProbe", container.StartupProbe, &probes.Startup},
		{at + ".readinessProbe", container.ReadinessProbe, &probes.Readiness},
	} {
		if probe.from == nil {
			continue
		}
		translated, err := probeOf(probe.field, probe.from, container.Ports)
		if err != nil {
			return err
		}
		*probe.to = translated
	}
	if probes.Startup == nil && probes.Readiness == nil {
		return nil
	}
	encoded, err := json.Marshal(probes)
	if err != nil {
		return fmt.Errorf("encoding the probes: %w", err)
	}
	p.probes = string(encoded)
	return nil
}

// probeOf translates one probe. Ports have the names that they may be referred to by.
func probeOf(at string, from *corev1.Probe, ports []corev1.ContainerPort) (*wire.Probe, error) {
	for field, value := range map[string]int32{
		"initialDelaySeconds": from.InitialDelaySeconds, "timeoutSeconds": from.TimeoutSeconds, "periodSeconds": from.PeriodSeconds,
		"successThreshold": from.SuccessThreshold, "failureThreshold": from.FailureThreshold,
	} {
		if value < 0 {
			return nil, invalid(at+"."+field, "must not be negative")
		}
	}
	to := &wire.Probe{
		InitialDelaySeconds: from.InitialDelaySeconds, TimeoutSeconds: from.TimeoutSeconds, PeriodSeconds: from.PeriodSeconds,
		SuccessThreshold: from.SuccessThreshold, FailureThreshold: from.FailureThreshold,
	}
	var err error
	switch {
	case from.Exec != nil && len(from.Exec.Command) > 0:
		to.Exec = &wire.ExecProbe{Command: from.Exec.Command}
	case from.HTTPGet != nil:
		to.HTTPGet, err = httpProbe(at+".httpGet", from.HTTPGet, ports)
	case from.TCPSocket != nil:
		to.TCPSocket = &wire.TCPProbe{Host: from.TCPSocket.Host}
		to.TCPSocket.Port, err = portOf(at+".tcpSocket.port", from.TCPSocket.Port, ports)
	case from.GRPC != nil:
		to.GRPC = &wire.GRPCProbe{}
		if from.GRPC.Service != nil {
			to.GRPC.Service = *from.GRPC.Service
		}
		to.GRPC.Port, err = portOf(at+".grpc.port", intstr.FromInt32(from.GRPC.Port), ports)
	default:
		return nil, invalid(at, "needs exec with a command, httpGet, tcpSocket or grpc")
	}
	return to, err
}

func httpProbe(at string, from *corev1.HTTPGetAction, ports []corev1.ContainerPort) (*wire.HTTPProbe, error) {
	to := &wire.HTTPProbe{Scheme: string(from.Scheme), Host: from.Host, Path: from.Path}
	for _, header := range from.HTTPHeaders {
		to.Headers = append(to.Headers, wire.Header{Name: header.Name, Value: header.Value})
	}
	var err error
	to.Port, err = portOf(at+".port", from.Port, ports)
	return to, err
}

// portOf returns the number of a port that may be given by name.
func portOf(at string, port intstr.IntOrString, ports []corev1.ContainerPort) (int32, error) {
	number := port.IntVal
	if port.Type == intstr.String {
		for i := range ports {
			if ports[i].Name == port.StrVal {
				number = ports[i].ContainerPort
			}
		}
		if number == 0 {
			if parsed, err := strconv.ParseInt(port.StrVal, 10, 32); err == nil {
				number = int32(parsed)
			}
		}
	}
	if number < 1 || number > 65535 {
		return 0, invalid(at, fmt.Sprintf("%q is neither a number from 1 to 65535 nor the name of a port of the container", port.String()))
	}
	return number, nil
}

// unreadiness reads what the agent's probes have found.
func unreadiness(health wire.Health) (unready bool, message string) {
	if health.Readiness == nil || health.Readiness.State == wire.Ready {
		return false, ""
	}
	return true, health.Readiness.Message
}

// watchReadiness follows the probes of a pod until ctx ends. A pod without probes is not asked.
func (r *Runtime) watchReadiness(ctx context.Context, p *pod) {
	for {
		r.mu.Lock()
		agent, probed := p.client, p.probed
		r.mu.Unlock()
		if !probed || agent == nil {
			return
		}
		select {
		case <-r.config.Clock.After(readinessPause):
		case <-ctx.Done():
			return
		}
		health, err := agent.Health(ctx)
		if errors.Is(err, client.ErrProtocol) {
			// No sandbox gets the pod. One that has it fails when it asks the agent for something.
			r.setReadiness(p, wire.Readiness{State: wire.NotReady, Message: err.Error()})
			return
		}
		if err != nil || health.Readiness == nil {
			continue // The end of the agent's process is noticed by itself.
		}
		r.setReadiness(p, *health.Readiness)
	}
}

// setReadiness reports a change of what the probes of a Ready pod have found. Before a probe has failed
// as often as its threshold says, the pod is just starting, and has no reason.
func (r *Runtime) setReadiness(p *pod, found wire.Readiness) {
	r.mu.Lock()
	defer r.mu.Unlock()
	to := p.pod
	if to.Phase != podruntime.Ready || p.deleting {
		return
	}
	to.Unready, to.Reason, to.Message = found.State != wire.Ready, "", found.Message
	if found.State == wire.NotReady || found.State == wire.StartupFailed {
		to.Reason = podruntime.ReasonNotReady
	}
	if to != p.pod {
		p.pod = to
		r.tellLocked(podruntime.Event{Pod: to})
	}
}
