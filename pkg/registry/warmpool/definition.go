// Package warmpool is the registry of WarmPools: what a pool looks like when it
// is created, changed, scaled and printed. It keeps nothing itself; that is the
// storage's work, and filling pools is the scheduler's.
//
// Read definition.go first; scale.go holds the scale subresource, keeper.go what a deletion does.
package warmpool

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/validation"
	"arl.io/arl/pkg/registry/kind"
)

// oneCPU is the smallest CPU limit that does not get a warning. Below it the
// kernel stops a container for most of every 100 ms once its quota is used up,
// which a short step feels as a delay many times its own run time.
var oneCPU = resource.MustParse("1")

var definition = kind.Definition[*arl.WarmPool, arl.WarmPoolSpec, arl.WarmPoolStatus]{
	Resource:   "warmpools",
	Singular:   "warmpool",
	ShortNames: []string{"wp"},
	New:        func() *arl.WarmPool { return &arl.WarmPool{} },
	NewList:    func() runtime.Object { return &arl.WarmPoolList{} },
	Spec:       func(p *arl.WarmPool) *arl.WarmPoolSpec { return &p.Spec },
	Status:     func(p *arl.WarmPool) *arl.WarmPoolStatus { return &p.Status },

	Finalizer:      arl.FinalizerSandboxesInUse,
	CascadesItself: true,

	InitialStatus:        initialStatus,
	Validate:             validation.ValidateWarmPool,
	ValidateUpdate:       validation.ValidateWarmPoolUpdate,
	ValidateStatusUpdate: validation.ValidateWarmPoolStatusUpdate,
	MaxNameLength:        validation.MaxWarmPoolNameLength,
	Warnings:             warnings,

	Columns: columns,
}

func initialStatus(p *arl.WarmPool) arl.WarmPoolStatus {
	return arl.WarmPoolStatus{
		Phase: arl.WarmPoolPending,
		Conditions: append(kind.Unobserved(p, arl.WarmPoolConditionReady, metav1.ConditionFalse),
			kind.Unobserved(p, arl.ConditionReconciling, metav1.ConditionTrue)...),
	}
}

func warnings(p *arl.WarmPool) []string {
	var out []string
	template := &p.Spec.Template.Spec
	if policy := template.RestartPolicy; policy != "" && policy != corev1.RestartPolicyNever {
		out = append(out, fmt.Sprintf("spec.template.spec.restartPolicy: %s is not used: a pod that ends is replaced by a fresh one", policy))
	}
	for i, c := range template.Containers {
		at := fmt.Sprintf("spec.template.spec.containers[%d]", i)
		if len(c.Args) > 0 && len(c.Command) == 0 && i == executor(template) {
			out = append(out, at+".args: need command, too, in a cluster, where the image's entrypoint is not known")
		}
		if cpu, ok := c.Resources.Limits[corev1.ResourceCPU]; ok && cpu.Cmp(oneCPU) < 0 {
			out = append(out, fmt.Sprintf("%s.resources.limits.cpu: %s stalls even short steps; prefer a request, or at least 1", at, cpu.String()))
		}
	}
	if replicas := ptr.Deref(p.Spec.Replicas, 0); p.Spec.MaxPods != nil && *p.Spec.MaxPods < replicas {
		out = append(out, fmt.Sprintf("spec.maxPods: %d leaves no room for the %d idle pods of spec.replicas", *p.Spec.MaxPods, replicas))
	}
	return out
}

// executor returns the index of the container in which steps run.
func executor(spec *corev1.PodSpec) int {
	return max(0, slices.IndexFunc(spec.Containers, func(c corev1.Container) bool { return c.Name == "executor" }))
}

var columns = []kind.Column[*arl.WarmPool]{
	{Name: "Desired", Type: "integer", Description: "Number of idle, ready pods to keep.",
		Cell: func(p *arl.WarmPool, _ time.Time) any { return int64(ptr.Deref(p.Spec.Replicas, 0)) }},
	{Name: "Ready", Type: "integer", Description: "Number of idle pods ready to be given out.",
		Cell: func(p *arl.WarmPool, _ time.Time) any { return int64(p.Status.ReadyReplicas) }},
	{Name: "Allocated", Type: "integer", Description: "Number of pods in use by sandboxes.",
		Cell: func(p *arl.WarmPool, _ time.Time) any { return int64(p.Status.AllocatedReplicas) }},
	{Name: "Pending", Type: "integer", Description: "Number of sandboxes waiting for a pod.",
		Cell: func(p *arl.WarmPool, _ time.Time) any { return int64(p.Status.PendingSandboxes) }},
	{Name: "Phase", Description: "Pending, Ready, Degraded or Terminating.",
		Cell: func(p *arl.WarmPool, _ time.Time) any { return kind.OrNone(p.Status.Phase) }},
	{Name: "Images", Wide: true, Description: "Images of the pods' containers.",
		Cell: func(p *arl.WarmPool, _ time.Time) any { return images(p) }},
	{Name: "Workdir", Wide: true, Description: "Directory in which steps run unless they name their own.",
		Cell: func(p *arl.WarmPool, _ time.Time) any { return kind.OrNone(p.Spec.WorkDir) }},
	{Name: "Updated", Type: "integer", Wide: true, Description: "Number of idle pods made from the current template.",
		Cell: func(p *arl.WarmPool, _ time.Time) any { return int64(p.Status.UpdatedReplicas) }},
	{Name: "Reason", Wide: true, Description: "Why the pool does not have the pods it should have.",
		Cell: func(p *arl.WarmPool, _ time.Time) any { return kind.OrNone(reason(p)) }},
}

func images(p *arl.WarmPool) string {
	names := make([]string, 0, len(p.Spec.Template.Spec.Containers))
	for _, c := range p.Spec.Template.Spec.Containers {
		names = append(names, c.Image)
	}
	return strings.Join(names, ",")
}

// reason is why the pool is not as it should be: why pods cannot be started, else why the template is
// not proven, idle pods are of an earlier one, or too few are idle.
func reason(p *arl.WarmPool) string {
	conditions := p.Status.Conditions
	if c := meta.FindStatusCondition(conditions, arl.WarmPoolConditionReplicaFailure); c != nil && c.Status == metav1.ConditionTrue {
		return c.Reason
	}
	for _, kind := range []string{arl.WarmPoolConditionReady, arl.WarmPoolConditionUpdated, arl.WarmPoolConditionFilled} {
		if c := meta.FindStatusCondition(conditions, kind); c != nil && c.Status != metav1.ConditionTrue {
			return c.Reason
		}
	}
	return ""
}
