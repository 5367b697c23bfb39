// Package task is the registry of Tasks: what a task looks like when it is
// created, cancelled and printed. Deleting a running task is a plain delete;
// the scheduler sees it and stops the steps.
package task

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apis/arl/validation"
	"arl.io/arl/pkg/registry/kind"
)

// Storage serves Tasks and their status.
type Storage struct {
	Task   *kind.REST
	Status *kind.StatusREST
}

// NewStorage makes the storage of Tasks. It returns an error if the storage
// below cannot be had.
func NewStorage(cfg kind.Config) (*Storage, error) {
	main, status, err := kind.New(definition, cfg)
	if err != nil {
		return nil, err
	}
	return &Storage{Task: main, Status: status}, nil
}

var definition = kind.Definition[*arl.Task, arl.TaskSpec, arl.TaskStatus]{
	Resource:   "tasks",
	Singular:   "task",
	ShortNames: []string{"tk"},
	New:        func() *arl.Task { return &arl.Task{} },
	NewList:    func() runtime.Object { return &arl.TaskList{} },
	Spec:       func(t *arl.Task) *arl.TaskSpec { return &t.Spec },
	Status:     func(t *arl.Task) *arl.TaskStatus { return &t.Status },

	InitialStatus:        initialStatus,
	Validate:             validation.ValidateTask,
	ValidateUpdate:       validation.ValidateTaskUpdate,
	ValidateStatusUpdate: validation.ValidateTaskStatusUpdate,
	Warnings:             warnings,

	Fields: []kind.Field[*arl.Task]{
		{Path: v1alpha1.FieldTaskSandboxRef, Value: func(t *arl.Task) string { return t.Spec.SandboxRef }},
		{Path: v1alpha1.FieldTaskPoolRef, Value: func(t *arl.Task) string { return t.Spec.PoolRef }},
		{Path: v1alpha1.FieldTaskState, Value: func(t *arl.Task) string { return string(t.Status.State) }},
	},
	Columns: columns,
}

func initialStatus(t *arl.Task) arl.TaskStatus {
	return arl.TaskStatus{
		State: arl.TaskPending,
		Conditions: append(kind.Unobserved(t, arl.TaskConditionSucceeded, metav1.ConditionUnknown),
			kind.Unobserved(t, arl.ConditionReconciling, metav1.ConditionTrue)...),
	}
}

func warnings(t *arl.Task) []string {
	whole, err := time.ParseDuration(t.Spec.Timeout)
	if err != nil {
		return nil // unset: nothing to compare with
	}
	var out []string
	for i, step := range t.Spec.Steps {
		if d, err := time.ParseDuration(step.Timeout); err == nil && d > whole {
			out = append(out, fmt.Sprintf("spec.steps[%d].timeout: %s is never reached: spec.timeout ends the task after %s",
				i, step.Timeout, t.Spec.Timeout))
		}
	}
	return out
}
