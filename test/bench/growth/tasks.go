package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apiserver"
	client "arl.io/arl/pkg/generated/clientset/versioned/typed/arl/v1alpha1"
	"arl.io/arl/test/bench/load"
)

// tasks is the way of a task's lifecycle. It may be used concurrently.
type tasks interface {
	// live makes a task and writes its status twice. It calls took with how
	// long each of the three requests took.
	live(ctx context.Context, name string, took func(time.Duration)) error
	// remove deletes a task.
	remove(ctx context.Context, name string) error
}

// newTask returns a task whose first step writes a file of so many bytes, unless
// content is 0.
func newTask(name string, now time.Time, content int) *arl.Task {
	task := load.New(name, now)
	if content > 0 {
		file := strings.Repeat(name+"\n", content/(len(name)+1)+1)[:content]
		task.Spec.Steps[0].Content = &file
	}
	return task
}

// changes are the writes of status.
var changes = []func(*arl.Task, time.Time){load.Start, load.Finish}

func timed(took func(time.Duration), do func() error) error {
	start := time.Now()
	if err := do(); err != nil {
		return err
	}
	took(time.Since(start))
	return nil
}

// storageTasks are those of a storage without an API server.
type storageTasks struct {
	store  storage.Interface
	prefix string
	// content is the size of the file that each task writes. 0: a screen of text.
	content int
}

func (s storageTasks) key(name string) string { return s.prefix + "/" + load.Namespace + "/" + name }

func (s storageTasks) live(ctx context.Context, name string, took func(time.Duration)) error {
	now := time.Now()
	err := timed(took, func() error {
		return s.store.Create(ctx, s.key(name), newTask(name, now, s.content), &arl.Task{}, 0)
	})
	for _, change := range changes {
		if err != nil {
			return err
		}
		err = timed(took, func() error {
			return s.store.GuaranteedUpdate(ctx, s.key(name), &arl.Task{}, false, nil,
				storage.SimpleUpdate(func(obj runtime.Object) (runtime.Object, error) {
					change(obj.(*arl.Task), now)
					return obj, nil
				}), nil)
		})
	}
	return err
}

func (s storageTasks) remove(ctx context.Context, name string) error {
	return s.store.Delete(ctx, s.key(name), &arl.Task{}, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
}

// apiTasks are those of an API server.
type apiTasks struct {
	client client.ArlV1alpha1Interface
	// content is that of storageTasks.
	content int
}

func (a apiTasks) live(ctx context.Context, name string, took func(time.Duration)) error {
	now := time.Now()
	internal := newTask(name, now, a.content)
	task, err := toClient(internal)
	if err != nil {
		return err
	}
	// The server keeps the books of fields itself.
	task.ManagedFields = nil
	err = timed(took, func() error {
		task, err = a.client.Tasks(load.Namespace).Create(ctx, task, metav1.CreateOptions{})
		return err
	})
	for _, change := range changes {
		if err != nil {
			return err
		}
		change(internal, now)
		changed, convertErr := toClient(internal)
		if convertErr != nil {
			return convertErr
		}
		task.Status = changed.Status
		err = timed(took, func() error {
			task, err = a.client.Tasks(load.Namespace).UpdateStatus(ctx, task, metav1.UpdateOptions{})
			return err
		})
	}
	return err
}

func (a apiTasks) remove(ctx context.Context, name string) error {
	return a.client.Tasks(load.Namespace).Delete(ctx, name, metav1.DeleteOptions{})
}

func toClient(task *arl.Task) (*v1alpha1.Task, error) {
	out := &v1alpha1.Task{}
	if err := apiserver.Scheme.Convert(task, out, nil); err != nil {
		return nil, fmt.Errorf("convert a task: %w", err)
	}
	return out, nil
}
