package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// SandboxPhase is a one-word summary of a sandbox for humans. Later versions may add values: a client
// treats one that it does not know as neither Ready nor final.
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

// +genclient
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Sandbox claims one pod of a WarmPool for as long as it exists. Created while
// a pod is free, it is Ready in the response to the create itself.
type Sandbox struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is standard object metadata. The name is a DNS label of at most
	// 63 characters.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// spec is what is asked for.
	// +optional
	Spec SandboxSpec `json:"spec,omitempty" protobuf:"bytes,2,opt,name=spec"`
	// status is what was given.
	// +optional
	Status SandboxStatus `json:"status,omitempty" protobuf:"bytes,3,opt,name=status"`
}

// SandboxSpec describes the wanted sandbox.
type SandboxSpec struct {
	// poolRef is the name of the WarmPool, in the same namespace, that the pod
	// comes from. The pool may be created later. Immutable.
	PoolRef string `json:"poolRef" protobuf:"bytes,1,opt,name=poolRef"`

	// keepAlive says that idleness alone does not end this sandbox. When false
	// (the default) it is deleted once no task has been pending or running for
	// its idle timeout (60 seconds unless set here or in the pool). When true
	// only an idleTimeoutSeconds of its own, maxLifetimeSeconds or an explicit
	// delete ends it. May be changed.
	// +optional
	KeepAlive bool `json:"keepAlive,omitempty" protobuf:"varint,2,opt,name=keepAlive"`

	// resources are the least the pod must offer: if the container in which
	// steps run requests less, the sandbox fails with reason
	// InsufficientResources. Only requests may be set. Immutable.
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty" protobuf:"bytes,3,opt,name=resources"`

	// idleTimeoutSeconds is the time without pending or running tasks after
	// which the sandbox is deleted, in seconds, 1 to 604800. It counts from
	// when the sandbox became Ready, too, and never runs during a task. The
	// default is the pool's, else 60 if keepAlive is false. May be changed.
	// +optional
	IdleTimeoutSeconds *int32 `json:"idleTimeoutSeconds,omitempty" protobuf:"varint,4,opt,name=idleTimeoutSeconds"`

	// maxLifetimeSeconds is the time after the pod was allocated at which the
	// sandbox is deleted even if a task is running, in seconds, 1 to 2592000.
	// The default is the pool's, else no limit. May be changed.
	// +optional
	MaxLifetimeSeconds *int32 `json:"maxLifetimeSeconds,omitempty" protobuf:"varint,5,opt,name=maxLifetimeSeconds"`

	// allocationTimeoutSeconds is how long the sandbox may wait for a pod
	// before it ends as Failed, in seconds, 0 to 86400; 0 means not at all.
	// The default is the pool's, else no limit. Immutable.
	// +optional
	AllocationTimeoutSeconds *int32 `json:"allocationTimeoutSeconds,omitempty" protobuf:"varint,6,opt,name=allocationTimeoutSeconds"`

	// priority orders sandboxes that wait for a pod of the same pool: higher
	// first, then first come first served. Default 0, -1000000 to 1000000.
	// Immutable.
	// +optional
	Priority int32 `json:"priority,omitempty" protobuf:"varint,7,opt,name=priority"`

	// env are environment variables for every step that runs in this sandbox, at most 256 of them and
	// 512 KiB together, which leaves room for those of steps and images in what Linux passes to a
	// program. A step's own env wins. Immutable.
	// +optional
	Env map[string]string `json:"env,omitempty" protobuf:"bytes,8,rep,name=env"`

	// maxConcurrentTasks is the number of tasks that may run in this sandbox
	// at the same time. Tasks start in creation order. Default 1, 1 to 64. May
	// be changed.
	// +optional
	MaxConcurrentTasks *int32 `json:"maxConcurrentTasks,omitempty" protobuf:"varint,9,opt,name=maxConcurrentTasks"`
}

// SandboxStatus is the observed state of a sandbox. It is written by the
// create itself when a pod is free, else by the scheduler alone.
type SandboxStatus struct {
	// observedGeneration is the metadata.generation this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty" protobuf:"varint,1,opt,name=observedGeneration"`
	// phase is a summary: Pending, Ready or Failed. Failed is final. Later versions may add values:
	// treat an unknown one as neither Ready nor final.
	// +optional
	Phase SandboxPhase `json:"phase,omitempty" protobuf:"bytes,2,opt,name=phase,casttype=SandboxPhase"`
	// podName is the name of the allocated pod. Once set it never changes.
	// +optional
	PodName string `json:"podName,omitempty" protobuf:"bytes,3,opt,name=podName"`
	// podUID is the UID of the allocated pod. Once set it never changes.
	// +optional
	PodUID types.UID `json:"podUID,omitempty" protobuf:"bytes,4,opt,name=podUID,casttype=k8s.io/apimachinery/pkg/types.UID"`
	// podIP is the IP address of the allocated pod, if it has one.
	// +optional
	PodIP string `json:"podIP,omitempty" protobuf:"bytes,5,opt,name=podIP"`
	// nodeName is the machine the pod runs on.
	// +optional
	NodeName string `json:"nodeName,omitempty" protobuf:"bytes,6,opt,name=nodeName"`
	// workDir is the directory in which steps run unless they name their own.
	// +optional
	WorkDir string `json:"workDir,omitempty" protobuf:"bytes,7,opt,name=workDir"`
	// allocatedTime is when the pod was allocated.
	// +optional
	AllocatedTime *metav1.MicroTime `json:"allocatedTime,omitempty" protobuf:"bytes,8,opt,name=allocatedTime"`
	// lastTaskTime is when the last task of the sandbox ended. It may lag by a
	// second.
	// +optional
	LastTaskTime *metav1.MicroTime `json:"lastTaskTime,omitempty" protobuf:"bytes,9,opt,name=lastTaskTime"`
	// queuePosition is the sandbox's place among those that wait for a pod of
	// the same pool, 1 for the next. Unset when it does not wait. It may lag by
	// a second.
	// +optional
	QueuePosition *int32 `json:"queuePosition,omitempty" protobuf:"varint,10,opt,name=queuePosition"`
	// reason says in one word why the sandbox is in its phase. For a sandbox that waits it is the reason
	// of what it waits for, such as ImagePullFailed or MaxPodsReached. Later versions may add values.
	// +optional
	Reason string `json:"reason,omitempty" protobuf:"bytes,11,opt,name=reason"`
	// message says the same for humans.
	// +optional
	Message string `json:"message,omitempty" protobuf:"bytes,12,opt,name=message"`
	// conditions hold Ready, and Reconciling or Stalled while they are True.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +patchMergeKey=type
	// +patchStrategy=merge
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type" protobuf:"bytes,13,rep,name=conditions"`
	// idleTimeoutSeconds is the idle timeout in effect, in seconds: the sandbox's own, else the
	// pool's, else 60. Unset if idleness does not end the sandbox.
	// +optional
	IdleTimeoutSeconds *int32 `json:"idleTimeoutSeconds,omitempty" protobuf:"varint,14,opt,name=idleTimeoutSeconds"`
	// expirationTime is when the sandbox reaches the maximum lifetime in effect and is deleted, even
	// if a task is running. Unset before a pod is allocated, and if there is no such limit.
	// +optional
	ExpirationTime *metav1.Time `json:"expirationTime,omitempty" protobuf:"bytes,15,opt,name=expirationTime"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// SandboxList is a list of Sandboxes.
type SandboxList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`
	// items are the sandboxes.
	Items []Sandbox `json:"items" protobuf:"bytes,2,rep,name=items"`
}
