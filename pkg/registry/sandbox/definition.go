// Package sandbox is the registry of Sandboxes: what a sandbox looks like when
// it is created, changed and printed, and how a create takes a free pod with it
// in the same write.
//
// It decides nothing about pods: an Allocator, which the scheduler implements,
// does. It starts no goroutines and holds no locks.
//
// Read allocator.go first, then reserve.go and definition.go.
package sandbox

import (
	"fmt"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apis/arl/validation"
	"arl.io/arl/pkg/registry/kind"
)

// Storage serves Sandboxes and their status.
type Storage struct {
	Sandbox *kind.REST
	Status  *kind.StatusREST
}

// NewStorage makes the storage of Sandboxes. Pods for new sandboxes come from
// the allocator; if it is nil, every sandbox is stored as Pending. It returns
// an error if the storage below cannot be had.
func NewStorage(cfg kind.Config, allocator Allocator) (*Storage, error) {
	if allocator != nil {
		cfg.RESTOptions = kind.WrapStorage(cfg.RESTOptions, func(below storage.Interface) storage.Interface {
			return &reservingStorage{Interface: below, allocator: allocator}
		})
	}
	main, status, err := kind.New(definition, cfg)
	if err != nil {
		return nil, err
	}
	return &Storage{Sandbox: main, Status: status}, nil
}

var definition = kind.Definition[*arl.Sandbox, arl.SandboxSpec, arl.SandboxStatus]{
	Resource:   "sandboxes",
	Singular:   "sandbox",
	ShortNames: []string{"sbx"},
	New:        func() *arl.Sandbox { return &arl.Sandbox{} },
	NewList:    func() runtime.Object { return &arl.SandboxList{} },
	Spec:       func(s *arl.Sandbox) *arl.SandboxSpec { return &s.Spec },
	Status:     func(s *arl.Sandbox) *arl.SandboxStatus { return &s.Status },

	InitialStatus:        initialStatus,
	Validate:             validation.ValidateSandbox,
	ValidateUpdate:       validation.ValidateSandboxUpdate,
	ValidateStatusUpdate: validation.ValidateSandboxStatusUpdate,
	Warnings:             warnings,

	Fields: []kind.Field[*arl.Sandbox]{
		{Path: v1alpha1.FieldSandboxPoolRef, Value: func(s *arl.Sandbox) string { return s.Spec.PoolRef }},
		{Path: v1alpha1.FieldSandboxPhase, Value: func(s *arl.Sandbox) string { return string(s.Status.Phase) }},
		{Path: v1alpha1.FieldSandboxPodName, Value: func(s *arl.Sandbox) string { return s.Status.PodName }},
	},
	Columns: columns,
}

func initialStatus(s *arl.Sandbox) arl.SandboxStatus {
	return arl.SandboxStatus{
		Phase: arl.SandboxPending,
		Conditions: append(kind.Unobserved(s, arl.SandboxConditionReady, metav1.ConditionFalse),
			kind.Unobserved(s, arl.ConditionReconciling, metav1.ConditionTrue)...),
	}
}

func warnings(s *arl.Sandbox) []string {
	idle, life := s.Spec.IdleTimeoutSeconds, s.Spec.MaxLifetimeSeconds
	if idle != nil && life != nil && *idle >= *life {
		return []string{fmt.Sprintf("spec.idleTimeoutSeconds: %d is never reached: spec.maxLifetimeSeconds ends the sandbox after %d", *idle, *life)}
	}
	return nil
}

var columns = []kind.Column[*arl.Sandbox]{
	{Name: "Pool", Description: "Pool that the pod comes from.",
		Cell: func(s *arl.Sandbox, _ time.Time) any { return s.Spec.PoolRef }},
	{Name: "Phase", Description: "Pending, Ready or Failed.",
		Cell: func(s *arl.Sandbox, _ time.Time) any { return kind.OrNone(s.Status.Phase) }},
	{Name: "Pod", Description: "Pod that is allocated.",
		Cell: func(s *arl.Sandbox, _ time.Time) any { return kind.OrNone(s.Status.PodName) }},
	{Name: "Node", Wide: true, Description: "Machine the pod runs on.",
		Cell: func(s *arl.Sandbox, _ time.Time) any { return kind.OrNone(s.Status.NodeName) }},
	{Name: "IP", Wide: true, Description: "IP address of the pod.",
		Cell: func(s *arl.Sandbox, _ time.Time) any { return kind.OrNone(s.Status.PodIP) }},
	{Name: "Reason", Wide: true, Description: "Why the sandbox is in its phase.",
		Cell: func(s *arl.Sandbox, _ time.Time) any { return kind.OrNone(s.Status.Reason) }},
	{Name: "Queue", Wide: true, Description: "Place among the sandboxes that wait for a pod.",
		Cell: func(s *arl.Sandbox, _ time.Time) any { return queue(s) }},
	{Name: "Idle-Timeout", Wide: true, Description: "Idle time after which the sandbox is deleted.",
		Cell: func(s *arl.Sandbox, _ time.Time) any { return idleTimeout(s) }},
}

func queue(s *arl.Sandbox) string {
	if s.Status.QueuePosition == nil {
		return kind.None
	}
	return strconv.Itoa(int(*s.Status.QueuePosition))
}

// idleTimeout is the one in effect, or, before a pod is allocated, what the sandbox itself says.
func idleTimeout(s *arl.Sandbox) string {
	switch {
	case s.Status.IdleTimeoutSeconds != nil:
		return (time.Duration(*s.Status.IdleTimeoutSeconds) * time.Second).String()
	case s.Spec.IdleTimeoutSeconds != nil:
		return (time.Duration(*s.Spec.IdleTimeoutSeconds) * time.Second).String()
	case s.Spec.KeepAlive:
		return "never"
	default:
		return "default"
	}
}
