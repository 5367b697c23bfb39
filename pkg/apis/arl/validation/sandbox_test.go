package validation

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl"
)

type sandboxCase struct {
	name   string
	change func(*arl.Sandbox)
	want   []string
}

func TestValidateSandbox(t *testing.T) {
	for _, tc := range []sandboxCase{
		{name: "valid", change: func(*arl.Sandbox) {}},
		{name: "longest name", change: func(s *arl.Sandbox) { s.Name = strings.Repeat("a", 63) }},
		{name: "name too long", change: func(s *arl.Sandbox) { s.Name = strings.Repeat("a", 64) },
			want: []string{`metadata.name: Invalid value: "` + strings.Repeat("a", 64) + `": must be no more than 63 characters`}},
		{name: "no pool", change: func(s *arl.Sandbox) { s.Spec.PoolRef = "" },
			want: []string{`spec.poolRef: Required value: must name a WarmPool of the same namespace`}},
		{name: "pool of no possible name", change: func(s *arl.Sandbox) { s.Spec.PoolRef = "a.b" },
			want: []string{`spec.poolRef: Invalid value: "a.b": must not contain dots`}},
		{name: "priorities", change: func(s *arl.Sandbox) { s.Spec.Priority = -1000000 }},
		{name: "priority too high", change: func(s *arl.Sandbox) { s.Spec.Priority = 1000001 },
			want: []string{`spec.priority: Invalid value: 1000001: must be between -1000000 and 1000000`}},
		{name: "priority too low", change: func(s *arl.Sandbox) { s.Spec.Priority = -1000001 },
			want: []string{`spec.priority: Invalid value: -1000001: must be between -1000000 and 1000000`}},
		{name: "most tasks at once", change: func(s *arl.Sandbox) { s.Spec.MaxConcurrentTasks = ptr.To[int32](64) }},
		{name: "too many tasks at once", change: func(s *arl.Sandbox) { s.Spec.MaxConcurrentTasks = ptr.To[int32](65) },
			want: []string{`spec.maxConcurrentTasks: Invalid value: 65: must be between 1 and 64`}},
		{name: "no tasks at once", change: func(s *arl.Sandbox) { s.Spec.MaxConcurrentTasks = ptr.To[int32](0) },
			want: []string{`spec.maxConcurrentTasks: Invalid value: 0: must be between 1 and 64`}},
		{name: "tasks at once unset", change: func(s *arl.Sandbox) { s.Spec.MaxConcurrentTasks = nil },
			want: []string{`spec.maxConcurrentTasks: Required value`}},
		{name: "timeouts", change: func(s *arl.Sandbox) {
			s.Spec.IdleTimeoutSeconds, s.Spec.MaxLifetimeSeconds, s.Spec.AllocationTimeoutSeconds = ptr.To[int32](-1), ptr.To[int32](2592001), ptr.To[int32](86401)
		}, want: []string{
			`spec.idleTimeoutSeconds: Invalid value: -1: must be between 1 and 604800`,
			`spec.maxLifetimeSeconds: Invalid value: 2592001: must be between 1 and 2592000`,
			`spec.allocationTimeoutSeconds: Invalid value: 86401: must be between 0 and 86400`,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantErrors(t, ValidateSandbox(newSandbox(tc.change)), tc.want...)
		})
	}
}

func TestValidateSandboxResources(t *testing.T) {
	one, negative := resource.MustParse("1"), resource.MustParse("-1")
	for _, tc := range []struct {
		name      string
		resources corev1.ResourceRequirements
		want      []string
	}{
		{name: "requests", resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": one}}},
		{name: "negative request", resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": negative}},
			want: []string{`spec.resources.requests[cpu]: Invalid value: "-1": must not be negative`}},
		{name: "limits", resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": one}},
			want: []string{`spec.resources.limits: Forbidden: only requests may be set: limits are those of the pool's template`}},
		{name: "claims", resources: corev1.ResourceRequirements{Claims: []corev1.ResourceClaim{{Name: "gpu"}}},
			want: []string{`spec.resources.claims: Forbidden: only requests may be set`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sandbox := newSandbox()
			sandbox.Spec.Resources = &tc.resources
			wantErrors(t, ValidateSandbox(sandbox), tc.want...)
		})
	}
}

func TestValidateSandboxEnv(t *testing.T) {
	for _, tc := range []struct {
		name string
		env  map[string]string
		want []string
	}{
		{name: "usual", env: map[string]string{"PATH": "/bin", "lower-case.too": ""}},
		{name: "most", env: variables(256)},
		{name: "too many", env: variables(257), want: []string{`spec.env: Too many: 257: must have at most 256 items`}},
		{name: "longest", env: map[string]string{"A": strings.Repeat("x", 128<<10-1-len("A="))}},
		{name: "too long", env: map[string]string{"A": strings.Repeat("x", 128<<10-len("A="))},
			want: []string{`spec.env[A]: Invalid value: name and value together must be at most 131070 bytes`}},
		{name: "bad ones", env: map[string]string{"": "x", "A=B": "x", "C\x00": "x", "D": "secret\x00"}, want: []string{
			`spec.env[]: Invalid value: the name of a variable must not be empty`,
			`spec.env[A=B]: Invalid value: the name of a variable must not contain '=' or a NUL byte`,
			"spec.env[C\x00]: Invalid value: the name of a variable must not contain '=' or a NUL byte",
			`spec.env[D]: Invalid value: must not contain a NUL byte`,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantErrors(t, ValidateSandbox(newSandbox(func(s *arl.Sandbox) { s.Spec.Env = tc.env })), tc.want...)
		})
	}
}

func TestValidateSandboxUpdate(t *testing.T) {
	for _, tc := range []sandboxCase{
		{name: "nothing", change: func(*arl.Sandbox) {}},
		{name: "what may change", change: func(s *arl.Sandbox) {
			s.Spec.KeepAlive = true
			s.Spec.IdleTimeoutSeconds = ptr.To[int32](600)
			s.Spec.MaxLifetimeSeconds = ptr.To[int32](6000)
			s.Spec.MaxConcurrentTasks = ptr.To[int32](4)
			s.Spec.Env = map[string]string{} // empty is unset
		}},
		{name: "what may change, out of range", change: func(s *arl.Sandbox) { s.Spec.MaxConcurrentTasks = ptr.To[int32](65) },
			want: []string{`spec.maxConcurrentTasks: Invalid value: 65: must be between 1 and 64`}},
		{name: "what may not change", change: func(s *arl.Sandbox) {
			s.Spec.PoolRef = "other"
			s.Spec.Resources = &corev1.ResourceRequirements{}
			s.Spec.AllocationTimeoutSeconds = ptr.To[int32](1)
			s.Spec.Priority = 1
			s.Spec.Env = map[string]string{"A": "1"}
		}, want: []string{
			`spec.poolRef: Invalid value: is immutable: delete the object and create another to change it`,
			`spec.resources: Invalid value: is immutable: delete the object and create another to change it`,
			`spec.allocationTimeoutSeconds: Invalid value: is immutable: delete the object and create another to change it`,
			`spec.priority: Invalid value: is immutable: delete the object and create another to change it`,
			`spec.env: Invalid value: is immutable: delete the object and create another to change it`,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantErrors(t, ValidateSandboxUpdate(newSandbox(tc.change), newSandbox()), tc.want...)
		})
	}
}

func TestValidateSandboxUpdateUnchangedSpec(t *testing.T) {
	lax := func(s *arl.Sandbox) { s.Spec.MaxConcurrentTasks = ptr.To[int32](100) }
	labelled := newSandbox(lax, func(s *arl.Sandbox) { s.Labels = map[string]string{"team": "a"} })
	wantErrors(t, ValidateSandboxUpdate(labelled, newSandbox(lax)))
}

func TestValidateSandboxStatusUpdate(t *testing.T) {
	bound := arl.SandboxStatus{Phase: arl.SandboxReady, PodName: "pool-x", PodUID: "1"}
	for _, tc := range []struct {
		name     string
		old, now arl.SandboxStatus
		want     []string
	}{
		{name: "empty"},
		{name: "binding", now: bound},
		{name: "failing", old: bound, now: arl.SandboxStatus{Phase: arl.SandboxFailed, PodName: "pool-x", PodUID: "1",
			PodIP: "10.0.0.1", Reason: arl.SandboxReasonPodLost, Conditions: []metav1.Condition{condition()}}},
		{name: "waiting", now: arl.SandboxStatus{Phase: arl.SandboxPending, QueuePosition: ptr.To[int32](1)}},
		{name: "another pod", old: bound, now: arl.SandboxStatus{Phase: arl.SandboxReady, PodName: "pool-y", PodUID: "2"}, want: []string{
			`status.podName: Invalid value: "pool-y": must stay "pool-x" once set`,
			`status.podUID: Invalid value: "2": must stay "1" once set`,
		}},
		{name: "no pod any more", old: bound, now: arl.SandboxStatus{Phase: arl.SandboxPending}, want: []string{
			`status.podName: Invalid value: "": must stay "pool-x" once set`,
			`status.podUID: Invalid value: "": must stay "1" once set`,
		}},
		{name: "back to life", old: arl.SandboxStatus{Phase: arl.SandboxFailed}, now: arl.SandboxStatus{Phase: arl.SandboxReady},
			want: []string{`status.phase: Invalid value: "Ready": must stay "Failed" once set`}},
		{name: "unknown phase", now: arl.SandboxStatus{Phase: "Fine"},
			want: []string{`status.phase: Unsupported value: "Fine": supported values: "Pending", "Ready", "Failed"`}},
		{name: "negative numbers", now: arl.SandboxStatus{ObservedGeneration: -1, QueuePosition: ptr.To[int32](0)}, want: []string{
			`status.observedGeneration: Invalid value: -1: must be greater than or equal to 0`,
			`status.queuePosition: Invalid value: 0: must be at least 1, or unset`,
		}},
		{name: "address that is none", now: arl.SandboxStatus{PodIP: "here"},
			want: []string{`status.podIP: Invalid value: "here": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`}},
		{name: "condition without status", now: arl.SandboxStatus{Conditions: []metav1.Condition{{Type: "Ready", Reason: "A", LastTransitionTime: metav1.Now()}}},
			want: []string{`status.conditions[0].status: Required value`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			now := newSandbox(func(s *arl.Sandbox) { s.Status = tc.now })
			old := newSandbox(func(s *arl.Sandbox) { s.Status = tc.old })
			wantErrors(t, ValidateSandboxStatusUpdate(now, old), tc.want...)
		})
	}
}
