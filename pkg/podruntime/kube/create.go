package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/kube/phase"
	"arl.io/arl/pkg/podruntime/kube/podspec"
)

// fieldManager names the server in what the cluster notes about a pod.
const fieldManager = "arl-apiserver"

// Times of a deletion that does not succeed at once.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// Create implements podruntime.Runtime. What the cluster's quota, admission or
// authorization has against the pod is returned in the cluster's words.
func (r *Runtime) Create(ctx context.Context, spec podruntime.Spec) (podruntime.Pod, error) {
	created, err := r.create(ctx, spec)
	if err != nil {
		return podruntime.Pod{}, fmt.Errorf("creating pod %s: %w", spec.Key, err)
	}
	return created, nil
}

func (r *Runtime) create(ctx context.Context, spec podruntime.Spec) (podruntime.Pod, error) {
	if !r.serves(spec.Namespace) {
		return podruntime.Pod{}, &podruntime.Refusal{Reason: podruntime.ReasonNamespaceNotServed, Err: fmt.Errorf(
			"this server makes pods in other namespaces only: %s", strings.Join(r.config.Namespaces, ", "))}
	}
	credentials, err := r.config.Credentials()
	if err != nil {
		return podruntime.Pod{}, fmt.Errorf("the server's certificates: %w", err)
	}
	wanted, err := podspec.Build(spec, podspec.Agent{
		Image: r.config.Image, PullPolicy: r.config.PullPolicy, Port: r.config.Port,
		ClientCA: credentials.Authorities, NonRoot: r.config.NonRoot, OwnWorkDir: r.ownsWorkDir(spec),
		StorageLimit: r.config.StorageLimit,
	})
	if err != nil {
		return podruntime.Pod{}, err
	}
	p, err := r.reserve(spec)
	if err != nil {
		return podruntime.Pod{}, err
	}
	created, err := r.submit(ctx, wanted)
	if err != nil {
		r.abandon(p)
		return podruntime.Pod{}, refusal(err)
	}
	record := recordOf(created)
	if err := r.config.Records.Add(ctx, record); err != nil {
		r.unrecorded(p, created)
		return podruntime.Pod{}, fmt.Errorf("record the pod, which is deleted again: %w", err)
	}
	return r.created(p, created, record)
}

// unrecorded gives up a pod that a later start of the server would not know.
func (r *Runtime) unrecorded(p *pod, created *corev1.Pod) {
	r.abandon(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.startLocked(func(ctx context.Context) { r.removeLater(ctx, podspec.Read(created)) })
}

// Check implements podruntime.Runtime.
func (r *Runtime) Check(spec podruntime.Spec) (podruntime.Advice, error) {
	return podspec.Check(spec, podspec.Agent{Port: r.config.Port})
}

// reserve takes the pod's key.
func (r *Runtime) reserve(spec podruntime.Spec) (*pod, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != active {
		return nil, errors.New("the kube runtime does not run")
	}
	if r.pods[spec.Key] != nil {
		return nil, podruntime.ErrExists
	}
	p := r.newPodLocked(podruntime.Pod{Key: spec.Key})
	p.creating = true
	return p, nil
}

// abandon gives the key back. An error does not say for certain that nothing came of the pod. But
// without the cluster's answer a pod that was created cannot be told from one that someone else put in
// its place: it is a foreign one.
func (r *Runtime) abandon(p *pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.creating = false
	delete(r.pods, p.pod.Key)
	if p.early != nil {
		r.observeLocked(p.early)
	}
}

// created takes in the answer to a creation. The informer may have been faster,
// and the pod even be gone by now.
func (r *Runtime) created(p *pod, answer *corev1.Pod, record Record) (podruntime.Pod, error) {
	first, status := podspec.Read(answer), phase.Assess(answer)
	first.Phase, first.Reason, first.Message = podruntime.Starting, status.Reason, status.Message
	r.mu.Lock()
	defer r.mu.Unlock()
	p.creating = false
	r.records[first.UID] = record
	if slices.Contains(p.earlyGone, first.UID) {
		delete(r.pods, first.Key)
		r.forgetRecordLocked(first.UID)
		if p.early != nil {
			r.observeLocked(p.early)
		}
		return podruntime.Pod{}, errors.New("the pod was deleted as soon as it was created")
	}
	p.pod = first
	r.tellLocked(podruntime.Event{Pod: first})
	if early := p.early; early != nil {
		p.early, p.earlyGone = nil, nil
		if early.UID == first.UID {
			r.observeLocked(early)
		}
		// Another pod had the name before, or has it since: the informer will say that ours is there or
		// gone, and the sweeper if it does not.
	}
	if p.deleting {
		r.startLocked(func(ctx context.Context) { r.removeLater(ctx, first) })
	}
	return first, nil
}

// removeLater deletes a pod whose deletion was asked for before it was there.
func (r *Runtime) removeLater(ctx context.Context, p podruntime.Pod) {
	for delay := firstRetry; ; delay = min(2*delay, lastRetry) {
		err := r.remove(ctx, p, gracePeriodSeconds)
		if err == nil || errors.Is(err, podruntime.ErrNotFound) {
			return
		}
		klog.FromContext(ctx).Error(err, "Deleting a pod failed and will be tried again", "after", delay)
		select {
		case <-r.config.Clock.After(delay):
		case <-ctx.Done():
			return
		}
	}
}
