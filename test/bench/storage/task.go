package main

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/tools/cache"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apiserver"
)

// taskPrefix is where the registry keeps tasks.
const taskPrefix = "/arl.io/tasks/"

// tasks is the resource as the server stores it.
func tasks() (resource, error) {
	codec, err := apiserver.StorageCodec(v1alpha1.SchemeGroupVersion)
	if err != nil {
		return resource{}, err
	}
	return resource{
		group:       schema.GroupResource{Group: v1alpha1.GroupName, Resource: "tasks"},
		codec:       codec,
		newFunc:     func() runtime.Object { return &arl.Task{} },
		newListFunc: func() runtime.Object { return &arl.TaskList{} },
		prefix:      taskPrefix,
		attributes:  attributes,
		indexers: cache.Indexers{
			storage.FieldIndex(v1alpha1.FieldTaskSandboxRef): func(obj any) ([]string, error) {
				return []string{obj.(*arl.Task).Spec.SandboxRef}, nil
			},
			storage.FieldIndex(v1alpha1.FieldTaskPoolRef): func(obj any) ([]string, error) {
				return []string{obj.(*arl.Task).Spec.PoolRef}, nil
			},
			storage.FieldIndex(v1alpha1.FieldTaskState): func(obj any) ([]string, error) {
				return []string{string(obj.(*arl.Task).Status.State)}, nil
			},
		},
	}, nil
}

// attributes are those that selectors of tasks may ask for.
func attributes(obj runtime.Object) (labels.Set, fields.Set, error) {
	task, ok := obj.(*arl.Task)
	if !ok {
		return nil, nil, fmt.Errorf("%T is no task", obj)
	}
	return task.Labels, fields.Set{
		"metadata.name": task.Name, "metadata.namespace": task.Namespace,
		v1alpha1.FieldTaskSandboxRef: task.Spec.SandboxRef, v1alpha1.FieldTaskPoolRef: task.Spec.PoolRef, v1alpha1.FieldTaskState: string(task.Status.State),
	}, nil
}

// jsonEncoder is what answers clients that did not ask for anything else.
func jsonEncoder() runtime.Encoder {
	info, _ := runtime.SerializerInfoForMediaType(apiserver.Codecs.SupportedMediaTypes(), runtime.ContentTypeJSON)
	return apiserver.Codecs.EncoderForVersion(info.Serializer, v1alpha1.SchemeGroupVersion)
}

func taskKey(name string) string { return taskPrefix + "default/" + name }

// output is what a task of an agent prints: a screen of text.
var output = strings.Repeat("ok  \tpkg/module\t0.004s\n", 20)

// began is when every task of the benchmark did: the clock is not measured.
var began = time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)

// newTask returns a task as the registry hands it to storage on a create.
func newTask(name string) *arl.Task {
	return &arl.Task{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "default", UID: types.UID(fmt.Sprintf("%-36.36s", name)),
			CreationTimestamp: metav1.NewTime(began), Generation: 1,
			Labels: map[string]string{"rl.example.com/episode": "17", "rl.example.com/run": "bench"},
			ManagedFields: []metav1.ManagedFieldsEntry{{
				Manager: "agent", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "arl.io/v1alpha1",
				Time: &metav1.Time{Time: began}, FieldsType: "FieldsV1",
				FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{".":{},"f:rl.example.com/episode":{},"f:rl.example.com/run":{}}},` +
					`"f:spec":{"f:sandboxRef":{},"f:steps":{},"f:timeout":{},"f:traceID":{}}}`),
			}},
		},
		Spec: arl.TaskSpec{
			SandboxRef: "sandbox-17", Timeout: "5m0s", TraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
			RetryPolicy: arl.RetryInfrastructure,
			Steps: []arl.TaskStep{
				{Name: "patch", Type: arl.StepFilePatch, Path: "src/module.py", Content: &patched, OnFailure: arl.FailureStop},
				{Name: "test", Type: arl.StepCommand, Command: []string{"go", "test", "./..."}, OnFailure: arl.FailureStop,
					Env: map[string]string{"GOFLAGS": "-count=1", "HOME": "/workspace"}},
			},
		},
		Status: arl.TaskStatus{State: arl.TaskPending},
	}
}

var patched = strings.Repeat("def step(state):\n    return state + 1\n", 8)

// startTask is the status that the scheduler writes when steps begin.
func startTask(t *arl.Task) {
	t.Status.State, t.Status.Reason = arl.TaskRunning, v1alpha1.TaskReasonRunning
	t.Status.SandboxName, t.Status.PodName, t.Status.Attempts = "sandbox-17", "bench-pool-x7k2p", 1
	t.Status.StartTime = &metav1.MicroTime{Time: began}
	t.Status.Conditions = []metav1.Condition{{
		Type: v1alpha1.TaskConditionSucceeded, Status: metav1.ConditionUnknown, Reason: v1alpha1.TaskReasonRunning,
		LastTransitionTime: metav1.NewTime(began),
	}}
}

// finishTask is the status that the scheduler writes when they have ended.
func finishTask(t *arl.Task) {
	var zero int32
	t.Status.State, t.Status.Reason = arl.TaskSucceeded, v1alpha1.TaskReasonCompleted
	t.Status.Stdout, t.Status.Duration, t.Status.ExitCode = output, "12.345ms", &zero
	t.Status.CompletionTime = &metav1.MicroTime{Time: began}
	t.Status.Steps = []arl.TaskStepStatus{
		{Name: "patch", State: arl.StepSucceeded, StartTime: &metav1.MicroTime{Time: began}, Duration: "1.2ms"},
		{Name: "test", State: arl.StepSucceeded, ExitCode: &zero, StdoutBytes: int64(len(output)),
			StartTime: &metav1.MicroTime{Time: began}, Duration: "11.1ms"},
	}
	t.Status.Conditions[0].Status, t.Status.Conditions[0].Reason = metav1.ConditionTrue, v1alpha1.TaskReasonCompleted
}
