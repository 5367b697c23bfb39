package kube

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/kube/phase"
	"arl.io/arl/pkg/podruntime/kube/podspec"
)

// adoptTimeout is how long Run waits for the agents of adopted pods before it
// tells of the pods; who answers later becomes Ready later.
const adoptTimeout = 3 * time.Second

// handlerOf returns what an informer tells.
func handlerOf(r *Runtime) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { r.observe(obj.(*corev1.Pod)) },
		UpdateFunc: func(_, obj any) { r.observe(obj.(*corev1.Pod)) },
		DeleteFunc: func(obj any) {
			if unseen, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = unseen.Obj
			}
			if last, ok := obj.(*corev1.Pod); ok {
				r.gone(last)
			}
		},
	}
}

// adopt waits for the pods there are at the start, and for the agents of those
// that run, a while.
func (r *Runtime) adopt(ctx context.Context, registrations []cache.DoneChecker) {
	if !cache.WaitFor(ctx, "pods", registrations...) {
		return
	}
	if err := r.settleRecords(ctx); err != nil && ctx.Err() == nil {
		// As on a full disk. The pods are known for as long as this process runs.
		klog.FromContext(ctx).Error(err, "The records of pods were not brought up to date, and will be at the next start")
	}
	r.mu.Lock()
	r.listed = true
	r.settleLocked()
	r.mu.Unlock()
	select {
	case <-r.settled:
	case <-r.config.Clock.After(adoptTimeout):
	case <-ctx.Done():
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pods {
		if p.held {
			r.releaseLocked(p)
			r.tellLocked(podruntime.Event{Pod: p.pod})
		}
	}
	r.complete = true
	r.signalLocked()
}

// observe takes in a pod as the cluster has it.
func (r *Runtime) observe(seen *corev1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.observeLocked(seen)
}

func (r *Runtime) observeLocked(seen *corev1.Pod) {
	p := r.pods[podruntime.Key{Namespace: seen.Namespace, Name: seen.Name}]
	if p != nil && p.creating {
		// Only the answer to the creation says which pod of this name is ours.
		p.early = seen
		return
	}
	if p != nil && p.pod.UID != seen.UID {
		// The informer tells once of the end of one pod and the beginning of
		// another, if both happened unseen.
		r.forgetLocked(p)
		p = nil
	}
	record, known := r.recognizeLocked(seen)
	if !known {
		r.foreignLocked(seen)
		return
	}
	tampered := record.tampered(seen)
	seen = record.restore(seen)
	read, status := podspec.Read(seen), phase.Assess(seen)
	if p == nil {
		p = r.newPodLocked(read)
		p.held = !r.complete && status.Askable() && status.Running
		if p.held {
			r.held++
		}
	}
	p.seen = true
	if sandbox := seen.Labels[podruntime.LabelSandbox]; sandbox != "" {
		// Without the label it may be older than what was asked for since.
		p.sandbox = sandbox
	}
	first := p.pod.UID == ""
	if first {
		read.Phase = podruntime.Starting
		p.pod = read
	}
	r.applyLocked(p, status, first)
	if tampered && p.pod.Phase != podruntime.Failed {
		r.failLocked(p, podruntime.ReasonStart, "the images of the pod are not those it was created with: someone has changed them")
	}
}

// newPodLocked enters a pod of which nothing was told.
func (r *Runtime) newPodLocked(read podruntime.Pod) *pod {
	p := &pod{
		pod:   podruntime.Pod{Key: read.Key, Phase: podruntime.Starting},
		since: r.config.Clock.Now(),
		news:  make(chan struct{}, 1),
	}
	r.pods[read.Key] = p
	return p
}

// applyLocked carries a pod forward to what the cluster says of it. A pod that
// Delete was called for is told of when it is gone, and not before.
func (r *Runtime) applyLocked(p *pod, status phase.State, first bool) {
	ran := p.status.Running
	if status.Key == nil {
		status.Key = p.status.Key
	}
	p.status = status
	r.learnWorkDirLocked(p.pod, status)
	p.stuck.follow(waitsFor(status), r.config.Clock.Now())
	if status.Running && !ran {
		p.runsSince = r.config.Clock.Now()
	}
	to := p.pod
	to.IP, to.NodeName = status.IP, status.NodeName
	switch {
	case p.pod.Phase == podruntime.Failed || (p.deleting && !first):
	case status.Phase == podruntime.Failed:
		reason := status.Reason
		if reason == podruntime.ReasonExited && p.pod.Phase == podruntime.Starting && !first {
			// It was seen to come up, and its agent has never answered.
			reason = podruntime.ReasonStart
		}
		p.pod = to
		r.failLocked(p, reason, status.Message)
	case p.pod.Phase == podruntime.Ready:
		if to = p.fitness(p.pod); to != p.pod {
			r.changeLocked(p, to)
		}
		switch {
		case p.stop != nil:
			p.nudgeLocked()
		case status.Doubtful:
			r.askLocked(p, r.recheck)
		}
	default:
		to.Reason, to.Message = p.stuck.over(status.Reason, status.Message)
		if first || to != p.pod {
			r.changeLocked(p, to)
		}
		switch {
		case p.stop != nil:
			p.nudgeLocked()
		case status.Askable() && !p.deleting:
			r.askLocked(p, r.greet)
		}
	}
}

// gone takes in that a pod is no more.
func (r *Runtime) gone(last *corev1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.foreign, last.UID)
	switch p := r.pods[podruntime.Key{Namespace: last.Namespace, Name: last.Name}]; {
	case p == nil:
		r.forgetRecordLocked(last.UID)
	case p.creating:
		p.early, p.earlyGone = nil, append(p.earlyGone, last.UID)
	case p.pod.UID == last.UID:
		r.forgetLocked(p)
	}
}
