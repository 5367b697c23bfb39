package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/generated/clientset/versioned"
	"arl.io/arl/test/harness"
)

const (
	namespace = "default"
	// patience is how long one sandbox or task may take before the run is given up.
	patience = 60 * time.Second
	// pollInterval is short beside what is waited for, and costs the server little.
	pollInterval = 10 * time.Millisecond
)

// target is the server that is measured, with one watch on its tasks that
// tells whoever waits for one.
type target struct {
	client *versioned.Clientset
	pool   string
	// replicas is how many idle pods the pool keeps.
	replicas int
	// close ends the watch.
	close func()
	// misses counts creates that found no idle pod.
	misses atomic.Int64

	mu sync.Mutex
	// finished holds a channel for each task that is waited for.
	finished map[string]chan *v1alpha1.Task
}

// withOwnServer measures a server that is started for it.
func withOwnServer(ctx context.Context, s settings) (err error) {
	dir, err := os.MkdirTemp("", "arl-bench-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	server, err := harness.New(harness.Config{
		Binary: s.server, Dir: filepath.Join(dir, "data"), Args: []string{"--allow-host-image"},
	})
	if err != nil {
		return err
	}
	if err := server.Start(ctx); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, server.Stop(), server.Purge(context.WithoutCancel(ctx)))
	}()
	pods := max(s.burst, s.clients, 10)
	if err := createPool(ctx, server.Kubeconfig(), s.pool, int32(pods)); err != nil {
		return err
	}
	target, err := connect(ctx, server.Kubeconfig(), s.pool)
	if err != nil {
		return err
	}
	defer target.close()
	return target.measure(ctx, s)
}

// connect returns a target for the kubeconfig, watching tasks until it is closed.
func connect(ctx context.Context, kubeconfig, pool string) (*target, error) {
	client, err := harness.NewClient(kubeconfig)
	if err != nil {
		return nil, err
	}
	warm, err := client.ArlV1alpha1().WarmPools(namespace).Get(ctx, pool, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("get pool: %w", err)
	}
	t := &target{
		client: client, pool: pool, replicas: int(*warm.Spec.Replicas), finished: map[string]chan *v1alpha1.Task{},
	}
	list, err := client.ArlV1alpha1().Tasks(namespace).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return nil, fmt.Errorf("list tasks: %w", err)
	}
	watcher, err := client.ArlV1alpha1().Tasks(namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		return nil, fmt.Errorf("watch tasks: %w", err)
	}
	dispatched := make(chan struct{})
	go func() {
		defer close(dispatched)
		t.dispatch(watcher)
	}()
	t.close = func() {
		watcher.Stop()
		<-dispatched
	}
	return t, nil
}

// dispatch ends with the watch.
func (t *target) dispatch(watcher watch.Interface) {
	for event := range watcher.ResultChan() {
		task, ok := event.Object.(*v1alpha1.Task)
		if !ok || task.Status.CompletionTime == nil {
			continue
		}
		t.mu.Lock()
		if done := t.finished[task.Name]; done != nil {
			delete(t.finished, task.Name)
			done <- task
		}
		t.mu.Unlock()
	}
}
