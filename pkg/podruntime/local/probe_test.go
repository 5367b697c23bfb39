package local

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"arl.io/arl/pkg/podruntime"
)

// readiness waits until a Ready pod is reported as taking work, or not.
func (f *fixture) readiness(name string, unready bool, reason string) podruntime.Pod {
	f.t.Helper()
	var found podruntime.Pod
	f.await(f.t, "the probes of pod "+name, func() bool {
		last := -1
		for i, event := range f.recorder.events {
			if event.Pod.Name == name {
				last = i
			}
		}
		if last < 0 {
			return false
		}
		found = f.recorder.events[last].Pod
		return found.Phase == podruntime.Ready && found.Unready == unready && (reason == "" || found.Reason == reason)
	})
	return found
}

// TestProbes follows a pod whose probe succeeds, fails and succeeds again, over a restart of the server.
func TestProbes(t *testing.T) {
	needContainers(t)
	dir := t.TempDir()
	f := start(t, Config{Dir: dir})
	spec := hostSpec("probed")
	first(&spec.Template.Spec).ReadinessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/bin/sh", "-c", "test -e /workspace/serves || { echo not yet; exit 1; }"}}},
		PeriodSeconds: 1, FailureThreshold: 1,
	}
	if _, err := f.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	early := f.readiness("probed", true, podruntime.ReasonNotReady)
	f.recorder.mu.Lock()
	for _, event := range f.recorder.events {
		if event.Pod.Phase == podruntime.Ready && !event.Pod.Unready {
			t.Errorf("the pod was reported as taking work before its probe succeeded: %+v", event.Pod)
		}
	}
	f.recorder.mu.Unlock()
	if !strings.Contains(early.Message, "not yet") {
		t.Errorf("message: %q", early.Message)
	}
	if out, code := f.run(early, "touch serves"); code != 0 {
		t.Fatalf("a step in a pod that is unready: %q", out)
	}
	f.readiness("probed", false, "")
	if _, code := f.run(early, "rm serves"); code != 0 {
		t.Fatal("a step failed")
	}
	f.readiness("probed", true, podruntime.ReasonNotReady)
	f.stop()
	f = start(t, Config{Dir: dir})
	defer f.removeAll()
	again := f.readiness("probed", true, "")
	if _, code := f.run(again, "touch serves"); code != 0 {
		t.Fatal("a step failed")
	}
	f.readiness("probed", false, "")
}

func TestProbesOfTemplates(t *testing.T) {
	http := func(port intstr.IntOrString) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: port}}}
	}
	tcp := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("web")}}, PeriodSeconds: 2}
	for _, tt := range []struct {
		name               string
		startup, readiness *corev1.Probe
		// want is the agent's argument; field is named by the error.
		want, field string
	}{
		{name: "none"},
		{name: "HTTP", readiness: http(intstr.FromInt32(80)), want: `{"readiness":{"httpGet":{"port":80,"path":"/healthz"}}}`},
		{name: "a port by its name", startup: tcp, want: `{"startup":{"tcpSocket":{"port":8080},"periodSeconds":2}}`},
		{name: "no such port", readiness: http(intstr.FromString("none-such")), field: "readinessProbe.httpGet.port"},
		{name: "no handler", startup: &corev1.Probe{}, field: "startupProbe"},
		{name: "no command", startup: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{}}}, field: "startupProbe"},
		{name: "a negative period", startup: &corev1.Probe{ProbeHandler: tcp.ProbeHandler, PeriodSeconds: -1}, field: "startupProbe.periodSeconds"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec := hostSpec("pod")
			container := first(&spec.Template.Spec)
			container.Ports = []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}}
			container.StartupProbe, container.ReadinessProbe = tt.startup, tt.readiness
			plan, err := planner().planFor(&spec)
			switch {
			case tt.field != "":
				if !errors.Is(err, podruntime.ErrInvalid) || !strings.Contains(err.Error(), tt.field+":") {
					t.Errorf("got %v, want ErrInvalid that names %s", err, tt.field)
				}
			case err != nil:
				t.Error(err)
			case plan.probes != tt.want:
				t.Errorf("got %s, want %s", plan.probes, tt.want)
			}
		})
	}
}
