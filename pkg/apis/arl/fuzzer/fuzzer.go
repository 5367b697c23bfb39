// Package fuzzer fills the internal arl.io types with random values for
// round-trip tests. It is for tests only, and does not make valid objects:
// what it makes merely keeps its value through encoding, defaulting and back.
package fuzzer

import (
	runtimeserializer "k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/randfill"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// Funcs are the functions for a fuzzer of the arl.io group, to be merged with
// those of the meta group. Each sets the fields that decoding would default.
func Funcs(runtimeserializer.CodecFactory) []any {
	return []any{
		func(pool *arl.WarmPool, c randfill.Continue) {
			c.FillNoCustom(pool)
			if pool.Spec.Replicas == nil {
				pool.Spec.Replicas = ptr.To(v1alpha1.DefaultWarmPoolReplicas)
			}
			if pool.Spec.WorkDir == "" {
				pool.Spec.WorkDir = v1alpha1.DefaultWorkDir
			}
			if pool.Spec.ReclaimPolicy == "" {
				pool.Spec.ReclaimPolicy = arl.ReclaimDelete
			}
			if pool.Spec.UpdateStrategy.Type == "" {
				pool.Spec.UpdateStrategy.Type = arl.UpdateOnReplenish
			}
			if pool.Spec.SandboxLabel == "" {
				pool.Spec.SandboxLabel = arl.SandboxLabelNone
			}
			defaultTemplate(pool)
		},
		func(spec *arl.SandboxSpec, c randfill.Continue) {
			c.FillNoCustom(spec)
			if spec.MaxConcurrentTasks == nil {
				spec.MaxConcurrentTasks = ptr.To(v1alpha1.DefaultMaxConcurrentTasks)
			}
		},
		func(spec *arl.TaskSpec, c randfill.Continue) {
			c.FillNoCustom(spec)
			if spec.Timeout == "" {
				spec.Timeout = v1alpha1.DefaultTaskTimeout
			}
			if spec.RetryPolicy == "" {
				spec.RetryPolicy = arl.RetryInfrastructure
			}
			if spec.TerminationGracePeriodSeconds == nil {
				spec.TerminationGracePeriodSeconds = ptr.To(v1alpha1.DefaultTerminationGracePeriodSeconds)
			}
			if spec.RetentionPolicy == "" {
				spec.RetentionPolicy = arl.RetentionDelete
			}
		},
	}
}

// defaultTemplate gives the template the defaults that the core types declare
// for themselves, and that decoding gives it, too.
func defaultTemplate(pool *arl.WarmPool) {
	versioned := &v1alpha1.WarmPool{Spec: v1alpha1.WarmPoolSpec{Template: pool.Spec.Template}}
	v1alpha1.SetObjectDefaults_WarmPool(versioned)
	pool.Spec.Template = versioned.Spec.Template
}
