package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"arl.io/arl/pkg/agent"
	"arl.io/arl/pkg/agent/wire"
)

// Health reports what the template's probes find.
func TestHealthReportsReadiness(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready")
	a := newAgent(t, agent.Config{Probes: &wire.Probes{
		Readiness: &wire.Probe{Exec: &wire.ExecProbe{Command: []string{"cat", ready}}, PeriodSeconds: 1, FailureThreshold: 1},
	}})
	eventually(t, "the first attempt", func() bool {
		health, err := a.Health(t.Context())
		return err == nil && health.Readiness.State == wire.NotReady && strings.Contains(health.Readiness.Message, "cat exited with code 1")
	})
	if err := os.WriteFile(ready, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, "readiness", func() bool {
		health, err := a.Health(t.Context())
		return err == nil && *health.Readiness == wire.Readiness{State: wire.Ready}
	})
	// Probes are no use of the pod.
	if health, err := a.Health(t.Context()); err != nil || health.Used {
		t.Errorf("got %+v, %v", health, err)
	}
}

func TestHealthWithoutProbesHasNoReadiness(t *testing.T) {
	if health, err := newAgent(t, agent.Config{}).Health(t.Context()); err != nil || health.Readiness != nil {
		t.Errorf("got %+v, %v", health, err)
	}
}
