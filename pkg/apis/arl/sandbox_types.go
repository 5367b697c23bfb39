package arl

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// SandboxPhase is a one-word summary of a sandbox for humans. Later versions may add values.
type SandboxPhase string

// Phases of a Sandbox.
const (
	// SandboxPending means that no pod has been allocated yet.
	SandboxPending SandboxPhase = "Pending"
	// SandboxReady means that tasks run.
	SandboxReady SandboxPhase = "Ready"
	// SandboxFailed is final: the reason and message say why.
	SandboxFailed SandboxPhase = "Failed"
)

// Condition types of a Sandbox.
const (
	// SandboxConditionReady is True while the sandbox can run tasks.
	SandboxConditionReady = "Ready"
)

// Reasons in a Sandbox's status.reason and Ready condition. A sandbox that waits for a pool whose pods
// cannot be started has the reason of the pool's ReplicaFailure condition. Later versions may add
// reasons.
const (
	// SandboxReasonPodAllocated: a pod is allocated and ready.
	SandboxReasonPodAllocated = "PodAllocated"
	// SandboxReasonPoolNotFound: spec.poolRef names no pool; it is waited for.
	SandboxReasonPoolNotFound = "PoolNotFound"
	// SandboxReasonPoolTerminating: the pool is being deleted and gives out no more pods.
	SandboxReasonPoolTerminating = "PoolTerminating"
	// SandboxReasonWaitingForPod: the pool has no idle pod and starts one.
	SandboxReasonWaitingForPod = "WaitingForPod"
	// SandboxReasonMaxPodsReached: the pool has no idle pod, and its spec.maxPods allows no more.
	SandboxReasonMaxPodsReached = "MaxPodsReached"
	// SandboxReasonAllocationTimeout: no pod was to be had within the allocation timeout; the message
	// says what the sandbox waited for.
	SandboxReasonAllocationTimeout = "AllocationTimeout"
	// SandboxReasonInsufficientResources: the pool's pods are smaller than spec.resources asks.
	SandboxReasonInsufficientResources = "InsufficientResources"
	// SandboxReasonDiskLimitExceeded: the pod took more disk space than its limit of ephemeral-storage,
	// or than the sizeLimit of a volume.
	SandboxReasonDiskLimitExceeded = "DiskLimitExceeded"
	// SandboxReasonDiskPressure: the disk of the server's machine was almost full, and the pod took most
	// of it.
	SandboxReasonDiskPressure = "DiskPressure"
	// SandboxReasonPodLost: the pod failed, was evicted or was deleted.
	SandboxReasonPodLost = "PodLost"
	// SandboxReasonOOMKilled: the pod as a whole used more memory than its limit, and the kernel ended it.
	// A step that the kernel ends alone fails, and the sandbox goes on.
	SandboxReasonOOMKilled = "OOMKilled"
	// SandboxReasonAgentLost: the agent of the pod did not answer the server's health checks for 30
	// seconds. The pod is deleted.
	SandboxReasonAgentLost = "AgentLost"
	// SandboxReasonExecutionUnaccounted: the agent did not end the steps of a task in time. They may
	// still run, so the sandbox is failed rather than given another task.
	SandboxReasonExecutionUnaccounted = "ExecutionUnaccounted"
	// SandboxReasonAgentProtocolViolation: the agent of the pod answered in a way that the agent's
	// program never does. Something in the pod has taken it over, so the pod is deleted.
	SandboxReasonAgentProtocolViolation = "AgentProtocolViolation"
)

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Sandbox claims one pod of a WarmPool for as long as it exists. Created while
// a pod is free, it is Ready in the response to the create itself.
type Sandbox struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	Spec   SandboxSpec
	Status SandboxStatus
}

// SandboxSpec describes the wanted sandbox.
type SandboxSpec struct {
	PoolRef                  string
	KeepAlive                bool
	Resources                *corev1.ResourceRequirements
	IdleTimeoutSeconds       *int32
	MaxLifetimeSeconds       *int32
	AllocationTimeoutSeconds *int32
	Priority                 int32
	Env                      map[string]string
	MaxConcurrentTasks       *int32
}

// SandboxStatus is the observed state of a sandbox. It is written by the
// create itself when a pod is free, else by the scheduler alone.
type SandboxStatus struct {
	ObservedGeneration int64
	Phase              SandboxPhase
	PodName            string
	PodUID             types.UID
	PodIP              string
	NodeName           string
	WorkDir            string
	AllocatedTime      *metav1.MicroTime
	LastTaskTime       *metav1.MicroTime
	QueuePosition      *int32
	Reason             string
	Message            string
	Conditions         []metav1.Condition
	IdleTimeoutSeconds *int32
	ExpirationTime     *metav1.Time
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// SandboxList is a list of Sandboxes.
type SandboxList struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []Sandbox
}
