package v1alpha1

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
)

// Defaults of the fields whose comments name one.
const (
	// DefaultWarmPoolReplicas is WarmPool spec.replicas.
	DefaultWarmPoolReplicas int32 = 1
	// DefaultWorkDir is WarmPool spec.workDir.
	DefaultWorkDir = "/workspace"
	// DefaultMaxConcurrentTasks is Sandbox spec.maxConcurrentTasks. One, so
	// that a task sees the whole effect of the task created before it.
	DefaultMaxConcurrentTasks int32 = 1
	// DefaultTaskTimeout is Task spec.timeout.
	DefaultTaskTimeout = "5m"
	// DefaultTerminationGracePeriodSeconds is Task spec.terminationGracePeriodSeconds.
	DefaultTerminationGracePeriodSeconds int32 = 2
)

func addDefaultingFuncs(scheme *runtime.Scheme) error {
	return RegisterDefaults(scheme)
}

// SetDefaults_WarmPoolSpec fills what the author of a pool left out. The
// timeouts stay unset: unset means that the pool has no opinion.
func SetDefaults_WarmPoolSpec(spec *WarmPoolSpec) {
	if spec.Replicas == nil {
		spec.Replicas = ptr.To(DefaultWarmPoolReplicas)
	}
	if spec.WorkDir == "" {
		spec.WorkDir = DefaultWorkDir
	}
	if spec.ReclaimPolicy == "" {
		spec.ReclaimPolicy = ReclaimDelete
	}
	if spec.UpdateStrategy.Type == "" {
		spec.UpdateStrategy.Type = UpdateOnReplenish
	}
	if spec.SandboxLabel == "" {
		spec.SandboxLabel = SandboxLabelNone
	}
}

// SetDefaults_SandboxSpec fills what the author of a sandbox left out. The
// timeouts stay unset, because their defaults are the pool's.
func SetDefaults_SandboxSpec(spec *SandboxSpec) {
	if spec.MaxConcurrentTasks == nil {
		spec.MaxConcurrentTasks = ptr.To(DefaultMaxConcurrentTasks)
	}
}

// SetDefaults_TaskSpec fills what the author of a task left out. The time to
// live stays unset, because its default is the server's. So does what a step
// leaves out: clients compare lists as a whole, and would see a change in every
// default that the server puts in one.
func SetDefaults_TaskSpec(spec *TaskSpec) {
	if spec.Timeout == "" {
		spec.Timeout = DefaultTaskTimeout
	}
	if spec.RetryPolicy == "" {
		spec.RetryPolicy = RetryInfrastructure
	}
	if spec.TerminationGracePeriodSeconds == nil {
		spec.TerminationGracePeriodSeconds = ptr.To(DefaultTerminationGracePeriodSeconds)
	}
	if spec.RetentionPolicy == "" {
		spec.RetentionPolicy = RetentionDelete
	}
}
