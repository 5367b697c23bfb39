package validation

import (
	"math"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl"
)

const notALabel = `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end ` +
	`with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`

type poolCase struct {
	name   string
	change func(*arl.WarmPool)
	want   []string
}

func TestValidateWarmPool(t *testing.T) {
	for _, tc := range []poolCase{
		{name: "valid", change: func(*arl.WarmPool) {}},
		{name: "no pods", change: func(p *arl.WarmPool) { p.Spec.Replicas = ptr.To[int32](0) }},
		{name: "most pods", change: func(p *arl.WarmPool) { p.Spec.Replicas = ptr.To[int32](10000) }},
		{name: "generated name", change: func(p *arl.WarmPool) { p.GenerateName = "pool-" }},
		{name: "generated from a base that is longer than a name", change: func(p *arl.WarmPool) { p.GenerateName = strings.Repeat("a", 100) + "-" }},
		{name: "generated from a base that is no label", change: func(p *arl.WarmPool) { p.GenerateName = "Pool_" },
			want: []string{`metadata.generateName: Invalid value: "Pool_": ` + notALabel}},
		{name: "generated from a base without end", change: func(p *arl.WarmPool) { p.GenerateName = strings.Repeat("a", 254) },
			want: []string{`metadata.generateName: Invalid value: "` + strings.Repeat("a", 254) + `": must be no more than 253 characters`}},
		{name: "recreate", change: func(p *arl.WarmPool) { p.Spec.UpdateStrategy.Type = arl.UpdateRecreate }},
		{name: "longest name", change: func(p *arl.WarmPool) { p.Name = strings.Repeat("a", 52) }},
		{name: "name too long for pods", change: func(p *arl.WarmPool) { p.Name = strings.Repeat("a", 53) },
			want: []string{`metadata.name: Invalid value: "` + strings.Repeat("a", 53) + `": must be no more than 52 characters`}},
		{name: "dotted name", change: func(p *arl.WarmPool) { p.Name = "a.b" },
			want: []string{`metadata.name: Invalid value: "a.b": must not contain dots`}},
		{name: "no namespace", change: func(p *arl.WarmPool) { p.Namespace = "" },
			want: []string{`metadata.namespace: Required value`}},
		{name: "replicas unset", change: func(p *arl.WarmPool) { p.Spec.Replicas = nil },
			want: []string{`spec.replicas: Required value`}},
		{name: "replicas 10001", change: func(p *arl.WarmPool) { p.Spec.Replicas = ptr.To[int32](10001) },
			want: []string{`spec.replicas: Invalid value: 10001: must be between 0 and 10000`}},
		{name: "replicas negative", change: func(p *arl.WarmPool) { p.Spec.Replicas = ptr.To[int32](-1) },
			want: []string{`spec.replicas: Invalid value: -1: must be between 0 and 10000`}},
		{name: "largest maxPods", change: func(p *arl.WarmPool) { p.Spec.MaxPods = ptr.To[int32](math.MaxInt32) }},
		{name: "maxPods zero", change: func(p *arl.WarmPool) { p.Spec.MaxPods = ptr.To[int32](0) },
			want: []string{`spec.maxPods: Invalid value: 0: must be at least 1, or unset for no cap`}},
		{name: "relative workDir", change: func(p *arl.WarmPool) { p.Spec.WorkDir = "work" },
			want: []string{`spec.workDir: Invalid value: "work": must be an absolute path without ".." elements, such as "/workspace"`}},
		{name: "workDir going up", change: func(p *arl.WarmPool) { p.Spec.WorkDir = "/a/../etc" },
			want: []string{`spec.workDir: Invalid value: "/a/../etc": must be an absolute path without ".." elements, such as "/workspace"`}},
		{name: "workDir with NUL", change: func(p *arl.WarmPool) { p.Spec.WorkDir = "/a\x00" },
			want: []string{`spec.workDir: Invalid value: "/a\x00": must not contain a NUL byte`}},
		{name: "workDir too long", change: func(p *arl.WarmPool) { p.Spec.WorkDir = "/" + strings.Repeat("a", 4095) },
			want: []string{`spec.workDir: Too long: may not be more than 4095 bytes`}},
		{name: "workDir with dots in a name", change: func(p *arl.WarmPool) { p.Spec.WorkDir = "/a..b" }},
		{name: "recycling", change: func(p *arl.WarmPool) { p.Spec.ReclaimPolicy = "Recycle" },
			want: []string{`spec.reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete"`}},
		{name: "rolling update", change: func(p *arl.WarmPool) { p.Spec.UpdateStrategy.Type = "RollingUpdate" },
			want: []string{`spec.updateStrategy.type: Unsupported value: "RollingUpdate": supported values: "OnReplenish", "Recreate"`}},
		{name: "labelled pods", change: func(p *arl.WarmPool) { p.Spec.SandboxLabel = arl.SandboxLabelName }},
		{name: "unknown label", change: func(p *arl.WarmPool) { p.Spec.SandboxLabel = "UID" },
			want: []string{`spec.sandboxLabel: Unsupported value: "UID": supported values: "None", "Name"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantErrors(t, ValidateWarmPool(newPool(tc.change)), tc.want...)
		})
	}
}

func TestValidateWarmPoolTimeouts(t *testing.T) {
	set := func(idle, lifetime, allocation int32) func(*arl.WarmPool) {
		return func(p *arl.WarmPool) {
			p.Spec.IdleTimeoutSeconds, p.Spec.MaxLifetimeSeconds, p.Spec.AllocationTimeoutSeconds = &idle, &lifetime, &allocation
		}
	}
	for _, tc := range []poolCase{
		{name: "shortest", change: set(1, 1, 0)},
		{name: "longest", change: set(604800, 2592000, 86400)},
		{name: "too short", change: set(0, 0, -1), want: []string{
			`spec.idleTimeoutSeconds: Invalid value: 0: must be between 1 and 604800`,
			`spec.maxLifetimeSeconds: Invalid value: 0: must be between 1 and 2592000`,
			`spec.allocationTimeoutSeconds: Invalid value: -1: must be between 0 and 86400`,
		}},
		{name: "too long", change: set(604801, 2592001, 86401), want: []string{
			`spec.idleTimeoutSeconds: Invalid value: 604801: must be between 1 and 604800`,
			`spec.maxLifetimeSeconds: Invalid value: 2592001: must be between 1 and 2592000`,
			`spec.allocationTimeoutSeconds: Invalid value: 86401: must be between 0 and 86400`,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantErrors(t, ValidateWarmPool(newPool(tc.change)), tc.want...)
		})
	}
}

func TestValidateWarmPoolUpdate(t *testing.T) {
	for _, tc := range []struct {
		name     string
		old, now func(*arl.WarmPool)
		want     []string
	}{
		{name: "everything in spec", old: func(*arl.WarmPool) {}, now: func(p *arl.WarmPool) {
			p.Spec.Replicas = ptr.To[int32](5)
			p.Spec.WorkDir = "/elsewhere"
			p.Spec.Template.Spec.Containers[0].Image = "busybox"
		}},
		{name: "to something invalid", old: func(*arl.WarmPool) {}, now: func(p *arl.WarmPool) { p.Spec.Replicas = ptr.To[int32](10001) },
			want: []string{`spec.replicas: Invalid value: 10001: must be between 0 and 10000`}},
		{name: "labels of a pool that was stored under laxer rules",
			old: func(p *arl.WarmPool) { p.Spec.Replicas = ptr.To[int32](20000) },
			now: func(p *arl.WarmPool) {
				p.Spec.Replicas = ptr.To[int32](20000)
				p.Labels = map[string]string{"team": "a"}
			}},
		{name: "name", old: func(*arl.WarmPool) {}, now: func(p *arl.WarmPool) { p.Name = "other" },
			want: []string{`metadata.name: Invalid value: "other": field is immutable`}},
		{name: "without resourceVersion", old: func(*arl.WarmPool) {}, now: func(p *arl.WarmPool) { p.ResourceVersion = "" },
			want: []string{`metadata.resourceVersion: Invalid value: "": must be specified for an update`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantErrors(t, ValidateWarmPoolUpdate(newPool(tc.now), newPool(tc.old)), tc.want...)
		})
	}
}

func TestValidateWarmPoolStatusUpdate(t *testing.T) {
	for _, tc := range []poolCase{
		{name: "empty", change: func(*arl.WarmPool) {}},
		{name: "full", change: func(p *arl.WarmPool) {
			p.Status = arl.WarmPoolStatus{
				ObservedGeneration: 1, Phase: arl.WarmPoolReady, Replicas: 3, ReadyReplicas: 2, AllocatedReplicas: 1,
				UpdatedReplicas: 3, PendingSandboxes: 4, Selector: "arl.io/pool=pool", Conditions: []metav1.Condition{condition()},
			}
		}},
		{name: "unknown phase", change: func(p *arl.WarmPool) { p.Status.Phase = "Fine" },
			want: []string{`status.phase: Unsupported value: "Fine": supported values: "Pending", "Ready", "Degraded", "Terminating"`}},
		{name: "negative counters", change: func(p *arl.WarmPool) {
			p.Status = arl.WarmPoolStatus{ObservedGeneration: -1, Replicas: -1, ReadyReplicas: -2, AllocatedReplicas: -3, UpdatedReplicas: -4, PendingSandboxes: -5}
		}, want: []string{
			`status.observedGeneration: Invalid value: -1: must be greater than or equal to 0`,
			`status.allocatedReplicas: Invalid value: -3: must be greater than or equal to 0`,
			`status.pendingSandboxes: Invalid value: -5: must be greater than or equal to 0`,
			`status.readyReplicas: Invalid value: -2: must be greater than or equal to 0`,
			`status.replicas: Invalid value: -1: must be greater than or equal to 0`,
			`status.updatedReplicas: Invalid value: -4: must be greater than or equal to 0`,
		}},
		{name: "selector that is none", change: func(p *arl.WarmPool) { p.Status.Selector = "a=b=c" },
			want: []string{`status.selector: Invalid value: "a=b=c": must be a label selector: found '=', expected: ',' or 'end of string'`}},
		{name: "condition without reason", change: func(p *arl.WarmPool) {
			c := condition()
			c.Reason = ""
			p.Status.Conditions = []metav1.Condition{c}
		}, want: []string{`status.conditions[0].reason: Required value`}},
		{name: "condition twice", change: func(p *arl.WarmPool) { p.Status.Conditions = []metav1.Condition{condition(), condition()} },
			want: []string{`status.conditions[1]: Duplicate value: "Ready"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantErrors(t, ValidateWarmPoolStatusUpdate(newPool(tc.change), newPool()), tc.want...)
		})
	}
}
