package kube

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/podruntime"
)

const (
	// sweepInterval is how often is looked for what did not happen. Nothing but
	// the four cases below waits for it.
	sweepInterval = 15 * time.Second
	// unseenTimeout is how long after its creation the informer should have told of a pod.
	unseenTimeout = 30 * time.Second
)

// sweep looks after pods of which nothing is heard. A pod that was deleted
// before the informer, cut off for a moment, ever saw it is told of by nobody; a node that
// is down does not end what it was told to end; a container that runs without a key
// having been told can never be asked; and why a volume cannot be mounted stands in
// events alone.
func (r *Runtime) sweep(ctx context.Context) {
	ticker := r.config.Clock.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C():
		case <-ctx.Done():
			return
		}
		r.failMute()
		r.explain(ctx)
		r.removeForeign(ctx)
		unseen, overdue := r.neglected()
		for _, p := range unseen {
			r.lookUp(ctx, p)
		}
		for _, p := range overdue {
			klog.FromContext(ctx).Info("A node has not ended a pod in time, which is removed by force",
				"pod", klog.KRef(p.Namespace, p.Name), "uid", p.UID, "node", p.NodeName)
			if err := r.remove(ctx, p, 0); err != nil && !errors.Is(err, podruntime.ErrNotFound) && ctx.Err() == nil {
				klog.FromContext(ctx).Error(err, "A pod could not be removed by force", "pod", klog.KRef(p.Namespace, p.Name))
			}
		}
	}
}

// neglected returns pods that the informer has not told of, and pods whose
// deletion takes too long.
func (r *Runtime) neglected() (unseen, overdue []podruntime.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pods {
		switch {
		case p.creating:
		case !p.seen && r.config.Clock.Since(p.since) >= unseenTimeout:
			unseen = append(unseen, p.pod)
		case p.deleting && r.config.Clock.Since(p.deletedAt) >= r.config.DeleteTimeout:
			overdue = append(overdue, p.pod)
		}
	}
	return unseen, overdue
}

// failMute makes pods Failed that run, and whose agent's key is not known.
func (r *Runtime) failMute() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pods {
		waits := p.pod.Phase == podruntime.Starting && p.status.Running && p.stop == nil && !p.deleting
		if waits && r.config.Clock.Since(p.runsSince) >= r.config.StartTimeout {
			r.failLocked(p, p.status.Reason, p.status.Message)
		}
	}
}

// lookUp asks the API server for a pod that the informer has not told of.
func (r *Runtime) lookUp(ctx context.Context, p podruntime.Pod) {
	found, err := r.config.Client.CoreV1().Pods(p.Namespace).Get(ctx, p.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && found.UID != p.UID {
		last := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID}}
		r.gone(last)
		return
	}
	if err != nil && ctx.Err() == nil {
		klog.FromContext(ctx).Error(err, "A pod could not be looked up", "pod", klog.KRef(p.Namespace, p.Name))
	}
}
