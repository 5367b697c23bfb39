package arl

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
type ReclaimPolicy string

// Reclaim policies.
const (
	// ReclaimDelete deletes the pod; the pool starts a fresh one.
	ReclaimDelete ReclaimPolicy = "Delete"
)

// UpdateStrategyType names how a pool's idle pods follow a changed template.
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
	// the template as it stands.
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

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// WarmPool keeps a number of pods started and idle, so that a Sandbox gets one
// without waiting for a pod to start.
type WarmPool struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	Spec   WarmPoolSpec
	Status WarmPoolStatus
}

// WarmPoolSpec describes the wanted pool.
type WarmPoolSpec struct {
	Replicas                 *int32
	Template                 corev1.PodTemplateSpec
	MaxPods                  *int32
	WorkDir                  string
	ReclaimPolicy            ReclaimPolicy
	UpdateStrategy           WarmPoolUpdateStrategy
	IdleTimeoutSeconds       *int32
	MaxLifetimeSeconds       *int32
	AllocationTimeoutSeconds *int32
	SandboxLabel             SandboxLabelPolicy
}

// WarmPoolUpdateStrategy says when idle pods follow a changed template.
type WarmPoolUpdateStrategy struct {
	Type UpdateStrategyType
}

// WarmPoolStatus is the observed state of a pool. It is written by the
// scheduler alone.
type WarmPoolStatus struct {
	ObservedGeneration int64
	Phase              WarmPoolPhase
	Replicas           int32
	ReadyReplicas      int32
	AllocatedReplicas  int32
	UpdatedReplicas    int32
	PendingSandboxes   int32
	Selector           string
	Conditions         []metav1.Condition
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// WarmPoolList is a list of WarmPools.
type WarmPoolList struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []WarmPool
}
