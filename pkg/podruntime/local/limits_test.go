package local

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// TestDefaultMemory makes plans of templates with and without a limit of memory, with and without a
// default, and reads what the pool's condition says of it.
func TestDefaultMemory(t *testing.T) {
	for name, tt := range map[string]struct {
		limit     string
		byDefault int64
		unlimited bool
		want      int64
		reason    string
	}{
		"the template's":             {limit: "64Mi", byDefault: 1 << 30, want: 64 << 20},
		"the server's":               {byDefault: 1 << 30, want: 1 << 30, reason: ReasonDefaultMemory},
		"none is wanted":             {},
		"a machine without cgroups":  {byDefault: 1 << 30, unlimited: true, reason: ReasonUnlimited},
		"a limit that cannot be set": {limit: "64Mi", byDefault: 1 << 30, unlimited: true, want: 64 << 20, reason: ReasonUnlimited},
	} {
		t.Run(name, func(t *testing.T) {
			r := planner()
			r.config.DefaultMemoryBytes, r.machine.cgroups = tt.byDefault, !tt.unlimited
			spec := hostSpec("pod")
			if tt.limit != "" {
				first(&spec.Template.Spec).Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(tt.limit)}
			}
			plan, err := r.planFor(&spec)
			if err != nil || plan.cgroup.MemoryBytes != tt.want {
				t.Fatalf("the limit is %d, %v, want %d", plan.cgroup.MemoryBytes, err, tt.want)
			}
			advice, err := r.Check(spec)
			if err != nil || advice.Reason != tt.reason {
				t.Errorf("the advice is %+v, %v, want reason %q", advice, err, tt.reason)
			}
			if tt.reason == ReasonDefaultMemory && !strings.Contains(advice.Message, "1Gi") {
				t.Errorf("the limit is not in %q", advice.Message)
			}
		})
	}
	if got := DefaultMemory(); got < leastDefaultMemory {
		t.Errorf("the default is %d", got)
	}
}

// TestOnlyLateKillsExplainTheEndOfAnAgent has the kernel end steps for want of memory some time before
// the agent ends for another reason, and the agent itself.
func TestOnlyLateKillsExplainTheEndOfAnAgent(t *testing.T) {
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
	var c killCount
	if got := c.before(at(0)); got != 0 {
		t.Errorf("at first: %d", got)
	}
	c.note(0, at(0))
	// A step is ended, and that is noted by the next contact.
	c.note(1, at(15))
	if got := c.before(at(30)); got != 1 {
		t.Errorf("long after the step: %d, want 1", got)
	}
	// The agent is ended, and contacts that fail come before the runtime has noticed.
	for range 3 {
		c.note(2, at(30))
	}
	if got := c.before(at(31)); got != 1 {
		t.Errorf("right after the agent: %d, want 1", got)
	}
}
