package kube

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/kube/phase"
)

const (
	// preparingTimeout is above what a node takes to set up volumes and network
	// where nothing is wrong.
	preparingTimeout = 10 * time.Second
	// explainInterval is between two looks at the events of one pool's pods.
	// Events are not kept in the API server's memory: each look reads etcd.
	explainInterval = time.Minute
	// explainTimeout bounds one look, and maxEvents what it takes in. A node
	// counts what it says again rather than saying it anew.
	explainTimeout = 5 * time.Second
	maxEvents      = 100
)

// warning is what a node says about a pod that it does not get prepared.
type warning struct {
	// since is when the pod was first seen to be unprepared; zero if it is not.
	since time.Time
	// asked is when the events were last looked at.
	asked time.Time
	// message is empty if nothing is known to be wrong.
	message string
}

// follow notes whether the pod is unprepared.
func (w *warning) follow(unprepared bool, now time.Time) {
	switch {
	case !unprepared:
		*w = warning{}
	case w.since.IsZero():
		w.since = now
	}
}

// over returns reason and message of a pod that is Starting.
func (w *warning) over(status phase.State) (reason, message string) {
	if w.message != "" {
		return podruntime.ReasonStart, w.message
	}
	return status.Reason, status.Message
}

// explain says of pods that their nodes have not prepared for a while what
// keeps the nodes from it. One pod speaks for all of its pool.
func (r *Runtime) explain(ctx context.Context) {
	for _, p := range r.stuck() {
		message, err := r.lastWarning(ctx, p)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			klog.FromContext(ctx).V(2).Info("The events of a pod could not be read", "pod", klog.KRef(p.Namespace, p.Name), "err", err)
			message = fmt.Sprintf("node %q has not set up volumes and network of the pod for %v; `kubectl describe pod -n %s %s` shows its events, which the server could not read",
				p.NodeName, preparingTimeout, p.Namespace, p.Name)
		}
		r.warn(p, message)
	}
}

// stuck returns, of each pool, the pod that has been unprepared for longest,
// if that is too long and its events have not been looked at lately.
func (r *Runtime) stuck() []podruntime.Pod {
	r.mu.Lock()
	defer r.mu.Unlock()
	longest := map[types.UID]*pod{}
	for _, p := range r.pods {
		if !p.unpreparedLocked() {
			continue
		}
		if other := longest[p.pod.PoolUID]; other == nil || p.stuck.since.Before(other.stuck.since) {
			longest[p.pod.PoolUID] = p
		}
	}
	var due []podruntime.Pod
	now := r.config.Clock.Now()
	for _, p := range longest {
		if now.Sub(p.stuck.since) >= preparingTimeout && now.Sub(p.stuck.asked) >= explainInterval {
			p.stuck.asked = now
			due = append(due, p.pod)
		}
	}
	return due
}

// unpreparedLocked says that a pod which is wanted waits for its node.
func (p *pod) unpreparedLocked() bool {
	return !p.stuck.since.IsZero() && !p.deleting && p.pod.Phase == podruntime.Starting
}

// lastWarning returns the latest warning in a pod's events, or nothing if there is none.
func (r *Runtime) lastWarning(ctx context.Context, p podruntime.Pod) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, explainTimeout)
	defer cancel()
	events, err := r.config.Client.CoreV1().Events(p.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.Set{"involvedObject.uid": string(p.UID), "type": corev1.EventTypeWarning}.String(),
		Limit:         maxEvents,
	})
	if err != nil {
		return "", fmt.Errorf("list the events of pod %s: %w", p.Key, err)
	}
	var last *corev1.Event
	for i := range events.Items {
		if event := &events.Items[i]; last == nil || lastSeen(event).After(lastSeen(last)) {
			last = event
		}
	}
	if last == nil {
		return "", nil
	}
	return fmt.Sprintf("node %q cannot set up the pod: %s: %s", p.NodeName, last.Reason, last.Message), nil
}

// lastSeen is when what an event tells was last the case.
func lastSeen(event *corev1.Event) time.Time {
	latest := event.LastTimestamp.Time
	if event.EventTime.After(latest) {
		latest = event.EventTime.Time
	}
	if event.Series != nil && event.Series.LastObservedTime.After(latest) {
		latest = event.Series.LastObservedTime.Time
	}
	return latest
}

// warn tells of a pod that is still unprepared what keeps it so.
func (r *Runtime) warn(of podruntime.Pod, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pods[of.Key]
	if p == nil || p.pod.UID != of.UID || !p.unpreparedLocked() {
		return
	}
	p.stuck.message = message
	to := p.pod
	to.Reason, to.Message = p.stuck.over(p.status)
	if to != p.pod {
		r.changeLocked(p, to)
	}
}
