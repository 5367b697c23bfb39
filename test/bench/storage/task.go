package main

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/tools/cache"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apiserver"
	"arl.io/arl/test/bench/load"
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

func taskKey(name string) string { return taskPrefix + load.Namespace + "/" + name }

// began is when every task of the benchmark did: the clock is not measured.
var began = time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
