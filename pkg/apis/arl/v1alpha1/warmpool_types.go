package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// WarmPoolPhase is a one-word summary of a pool for humans. Later versions may add values.
type WarmPoolPhase string

// Phases of a WarmPool.
const (
	// WarmPoolPending means that fewer pods than wanted are ready and more are starting.
	WarmPoolPending WarmPoolPhase = "Pending"
	// WarmPoolReady means that at least spec.replicas pods are idle and ready and no sandbox waits.
	WarmPoolReady WarmPoolPhase = "Ready"
	// WarmPoolDegraded means that pods cannot be started; the conditions say why.
	WarmPoolDegraded WarmPoolPhase = "Degraded"
	// WarmPoolTerminating means that the pool is being deleted.
	WarmPoolTerminating WarmPoolPhase = "Terminating"
)

// ReclaimPolicy says what becomes of a pod when its sandbox is released.
// +enum
type ReclaimPolicy string

// Reclaim policies.
const (
	// ReclaimDelete deletes the pod; the pool starts a fresh one.
	ReclaimDelete ReclaimPolicy = "Delete"
)

// UpdateStrategyType names how a pool's idle pods follow a changed template.
// +enum
type UpdateStrategyType string

// Update strategies.
const (
	// UpdateOnReplenish leaves idle pods alone and gives them out no more only
	// once a pod of the new template is ready to take their place.
	UpdateOnReplenish UpdateStrategyType = "OnReplenish"
	// UpdateRecreate deletes all idle pods of the old template at once.
	UpdateRecreate UpdateStrategyType = "Recreate"
)

// SandboxLabelPolicy says what a label of a pod in use tells of its sandbox.
// +enum
type SandboxLabelPolicy string

// Sandbox label policies.
const (
	// SandboxLabelNone sets no label.
	SandboxLabelNone SandboxLabelPolicy = "None"
	// SandboxLabelName sets the label arl.io/sandbox to the sandbox's name.
	SandboxLabelName SandboxLabelPolicy = "Name"
)

// Condition types of a WarmPool.
const (
	// WarmPoolConditionTemplateAccepted is False while no pod can be made from
	// the template as it stands. While it is True its reason and message may
	// still name what the pods do otherwise than the author may expect.
	WarmPoolConditionTemplateAccepted = "TemplateAccepted"
	// WarmPoolConditionReady is True while the pool can serve sandboxes: its template is accepted, a
	// pod of the current template has been ready, and pods can be started. Claims do not lower it.
	WarmPoolConditionReady = "Ready"
	// WarmPoolConditionFilled is True while at least spec.replicas pods are idle and ready.
	WarmPoolConditionFilled = "Filled"
	// WarmPoolConditionUpdated is True while every idle pod is made from the current template.
	WarmPoolConditionUpdated = "Updated"
	// WarmPoolConditionProgressing is True while pods are being started or replaced.
	WarmPoolConditionProgressing = "Progressing"
	// WarmPoolConditionReplicaFailure is True while pods cannot be created or started.
	WarmPoolConditionReplicaFailure = "ReplicaFailure"
)

// Reasons in a WarmPool's conditions, besides those that name why pods cannot be started. Later
// versions may add reasons.
const (
	// WarmPoolReasonTemplateProven: Ready is True; a pod of the current template has been ready.
	WarmPoolReasonTemplateProven = "TemplateProven"
	// WarmPoolReasonColdPool: Ready is True; spec.replicas is 0, so no pod is started before a sandbox
	// asks for one, and nothing is known against the template.
	WarmPoolReasonColdPool = "ColdPool"
	// WarmPoolReasonPodsStarting: pods are starting, and nothing is known that keeps them from it.
	WarmPoolReasonPodsStarting = "PodsStarting"
	// WarmPoolReasonMaxPodsReached: spec.maxPods keeps pods from being started that are wanted.
	WarmPoolReasonMaxPodsReached = "MaxPodsReached"
	// WarmPoolReasonTerminating: the pool is being deleted.
	WarmPoolReasonTerminating = "Terminating"
)

// FinalizerSandboxesInUse is on every pool from its creation on. It keeps a deleted pool until no
// sandbox uses a pod of it any more; the scheduler removes it then.
const FinalizerSandboxesInUse = "arl.io/sandboxes-in-use"

// +genclient
// +genclient:method=GetScale,verb=get,subresource=scale,result=k8s.io/api/autoscaling/v1.Scale
// +genclient:method=UpdateScale,verb=update,subresource=scale,input=k8s.io/api/autoscaling/v1.Scale,result=k8s.io/api/autoscaling/v1.Scale
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// WarmPool keeps a number of pods started and idle, so that a Sandbox gets one
// without waiting for a pod to start.
type WarmPool struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is standard object metadata. The name is a DNS label of at most
	// 52 characters, because the names of the pods begin with it.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// spec is what the pool should look like.
	// +optional
	Spec WarmPoolSpec `json:"spec,omitempty" protobuf:"bytes,2,opt,name=spec"`
	// status is what the pool looks like now.
	// +optional
	Status WarmPoolStatus `json:"status,omitempty" protobuf:"bytes,3,opt,name=status"`
}

// WarmPoolSpec describes the wanted pool.
type WarmPoolSpec struct {
	// replicas is the number of idle, ready pods to keep. Pods in use by sandboxes are not counted.
	// Beyond it, a pod is started for each sandbox that waits, within maxPods; so a pool of 0 serves, but
	// each of its sandboxes waits for its pod to start. Default 1, at least 0, at most 10000. May be
	// changed at any time, also through the scale subresource.
	// +optional
	Replicas *int32 `json:"replicas,omitempty" protobuf:"varint,1,opt,name=replicas"`

	// template describes the pods. At least one container is needed; steps run in the container named
	// "executor" if there is one, else in the first. That container's command and args run beneath the
	// agent, which is its first process. In a cluster a container without command runs the agent alone,
	// because the server does not know there what its image would run, and args without command are
	// refused; on a single machine both get the image's entrypoint. Steps run as the container's user,
	// who may be any: root, a number, or a name of the image. Root has the default capabilities of
	// container runtimes, any other user has none; securityContext.capabilities widens or narrows them,
	// and the server then adds none of its own. A pod with a startupProbe, readinessProbe or readiness
	// gates gets a sandbox only while they let it take work. Labels and annotations are carried to the
	// pods; keys of arl.io belong to the server. restartPolicy is accepted and not used: pods get
	// Never, because a pod that ends fails its sandbox and the pool starts a new one. The user who creates the
	// pool or changes its template needs the right to create pods. May be changed; updateStrategy says
	// when idle pods follow.
	Template corev1.PodTemplateSpec `json:"template" protobuf:"bytes,2,opt,name=template"`

	// maxPods caps the pods of this pool, idle, starting and in use together. While it keeps wanted pods
	// from being started, the pool and the sandboxes that wait say MaxPodsReached. No cap when unset. At
	// least 1. May be changed; pods in use are never taken away to meet it.
	// +optional
	MaxPods *int32 `json:"maxPods,omitempty" protobuf:"varint,3,opt,name=maxPods"`

	// workDir is the directory in which steps run unless they name their own. It is created if missing
	// and belongs to the user of the steps, unless the template mounts a volume there. An absolute path
	// without "..", default "/workspace". A change applies to pods started after it.
	// +optional
	WorkDir string `json:"workDir,omitempty" protobuf:"bytes,4,opt,name=workDir"`

	// reclaimPolicy says what becomes of a pod when its sandbox is released.
	// "Delete" (the default) deletes it, and the pool starts a fresh one.
	// +optional
	ReclaimPolicy ReclaimPolicy `json:"reclaimPolicy,omitempty" protobuf:"bytes,5,opt,name=reclaimPolicy,casttype=ReclaimPolicy"`

	// updateStrategy says when idle pods follow a changed template.
	// +optional
	UpdateStrategy WarmPoolUpdateStrategy `json:"updateStrategy,omitempty" protobuf:"bytes,6,opt,name=updateStrategy"`

	// idleTimeoutSeconds is the default for the sandboxes of this pool that do
	// not set their own, in seconds, 1 to 604800. May be changed; the sandboxes
	// that there are follow.
	// +optional
	IdleTimeoutSeconds *int32 `json:"idleTimeoutSeconds,omitempty" protobuf:"varint,7,opt,name=idleTimeoutSeconds"`

	// maxLifetimeSeconds is the default for the sandboxes of this pool that do
	// not set their own, in seconds, 1 to 2592000. May be changed; the
	// sandboxes that there are follow.
	// +optional
	MaxLifetimeSeconds *int32 `json:"maxLifetimeSeconds,omitempty" protobuf:"varint,8,opt,name=maxLifetimeSeconds"`

	// allocationTimeoutSeconds is the default for the sandboxes of this pool
	// that do not set their own, in seconds, 0 to 86400. May be changed; the
	// sandboxes that wait for a pod follow.
	// +optional
	AllocationTimeoutSeconds *int32 `json:"allocationTimeoutSeconds,omitempty" protobuf:"varint,9,opt,name=allocationTimeoutSeconds"`

	// sandboxLabel says what a label of a pod in use tells of its sandbox, for
	// those who look at pods: "None" (the default), or "Name" for the label
	// arl.io/sandbox with the sandbox's name. Each label costs one write to the
	// cluster's etcd and one event for all who watch the pods, which sandboxes
	// otherwise do without; it comes a moment after the sandbox is ready, and
	// nothing waits for it. Which pod a sandbox has is said by its own
	// status.podName alone. Pods of a single machine have no labels to be seen.
	// May be changed; pods in use follow, but no label is removed.
	// +optional
	SandboxLabel SandboxLabelPolicy `json:"sandboxLabel,omitempty" protobuf:"bytes,10,opt,name=sandboxLabel,casttype=SandboxLabelPolicy"`
}

// WarmPoolUpdateStrategy says when idle pods follow a changed template.
type WarmPoolUpdateStrategy struct {
	// type is "OnReplenish" (the default: idle pods of the old template are
	// replaced one by one as pods of the new one become ready) or "Recreate" (all
	// idle pods of the old template are deleted at once). Pods in use by a
	// sandbox are left alone in either case.
	// +optional
	Type UpdateStrategyType `json:"type,omitempty" protobuf:"bytes,1,opt,name=type,casttype=UpdateStrategyType"`
}

// WarmPoolStatus is the observed state of a pool. It is written by the
// scheduler alone.
type WarmPoolStatus struct {
	// observedGeneration is the metadata.generation this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty" protobuf:"varint,1,opt,name=observedGeneration"`
	// phase is a summary for humans: Ready while replicas pods are idle and no sandbox waits, else
	// Pending, or Degraded while pods cannot be started; Terminating while the pool is being deleted.
	// Later versions may add values.
	// +optional
	Phase WarmPoolPhase `json:"phase,omitempty" protobuf:"bytes,2,opt,name=phase,casttype=WarmPoolPhase"`
	// replicas is the number of pods of the pool that no sandbox uses,
	// starting ones included.
	// +optional
	Replicas int32 `json:"replicas" protobuf:"varint,3,opt,name=replicas"`
	// readyReplicas is the number of idle pods ready to be given out.
	// +optional
	ReadyReplicas int32 `json:"readyReplicas" protobuf:"varint,4,opt,name=readyReplicas"`
	// allocatedReplicas is the number of pods in use by sandboxes.
	// +optional
	AllocatedReplicas int32 `json:"allocatedReplicas" protobuf:"varint,5,opt,name=allocatedReplicas"`
	// updatedReplicas is the number of idle pods made from the current template.
	// +optional
	UpdatedReplicas int32 `json:"updatedReplicas" protobuf:"varint,6,opt,name=updatedReplicas"`
	// pendingSandboxes is the number of sandboxes waiting for a pod.
	// +optional
	PendingSandboxes int32 `json:"pendingSandboxes" protobuf:"varint,7,opt,name=pendingSandboxes"`
	// selector is the label selector of the pool's pods, in string form, for
	// the scale subresource.
	// +optional
	Selector string `json:"selector,omitempty" protobuf:"bytes,8,opt,name=selector"`
	// conditions are the observations behind phase: Ready, Filled, Updated, Progressing,
	// ReplicaFailure and TemplateAccepted, and Reconciling or Stalled while they are True.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +patchMergeKey=type
	// +patchStrategy=merge
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type" protobuf:"bytes,9,rep,name=conditions"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// WarmPoolList is a list of WarmPools.
type WarmPoolList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`
	// items are the pools.
	Items []WarmPool `json:"items" protobuf:"bytes,2,rep,name=items"`
}
