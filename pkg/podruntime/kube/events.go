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

// warning is what a node says about a pod that it does not get prepared, or ready.
type warning struct {
	// reason is podruntime.ReasonStart while the pod is unprepared, podruntime.ReasonNotReady while it
	// is not ready, else empty.
	reason string
	// since is when the pod was first seen so.
	since time.Time
	// asked is when the events were last looked at.
	asked time.Time
	// message is empty if nothing is known to be wrong.
	message string
}

// waitsFor returns the reason of a warning about a pod in this state, or "".
func waitsFor(status phase.State) string {
	switch {
	case status.Unprepared:
		return podruntime.ReasonStart
	case status.Running && status.NotReady != "":
		return podruntime.ReasonNotReady
	}
	return ""
}

// follow records what the pod waits for.
func (w *warning) follow(reason string, now time.Time) {
	if reason != w.reason {
		*w = warning{reason: reason, since: now}
	}
}

// over returns reason and message of a pod, given those of its status.
func (w *warning) over(reason, message string) (string, string) {
	if w.message != "" {
		return w.reason, w.message
	}
	return reason, message
}

// explain finds out why nodes have not got pods prepared or ready for a while. One pod speaks for all
// of its pool.
func (r *Runtime) explain(ctx context.Context) {
	for _, p := range r.stuck() {
		message, err := r.lastWarning(ctx, p)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			klog.FromContext(ctx).V(2).Info("The events of a pod could not be read", "pod", klog.KRef(p.Namespace, p.Name), "err", err)
			message = fmt.Sprintf("%s for %v; `kubectl describe pod -n %s %s` shows its events, which the server could not read",
				p.state(), preparingTimeout, p.Namespace, p.Name)
		}
		r.warn(p, message)
	}
}

// stuckPod is a pod that its node does not get prepared or ready.
type stuckPod struct {
	podruntime.Pod
	warning
	// notReady is what the pod's own status says.
	notReady string
}

// state says what is the case with the pod.
func (p stuckPod) state() string {
	if p.warning.reason == podruntime.ReasonNotReady {
		return p.notReady
	}
	return fmt.Sprintf("node %q has not set up volumes and network of the pod", p.NodeName)
}

// stuck returns, of each pool, the pod that has waited for its node for longest, if that is too long
// and its events have not been looked at lately.
func (r *Runtime) stuck() []stuckPod {
	r.mu.Lock()
	defer r.mu.Unlock()
	longest := map[types.UID]*pod{}
	for _, p := range r.pods {
		if !p.stuckLocked() {
			continue
		}
		if other := longest[p.pod.PoolUID]; other == nil || p.stuck.since.Before(other.stuck.since) {
			longest[p.pod.PoolUID] = p
		}
	}
	var due []stuckPod
	now := r.config.Clock.Now()
	for _, p := range longest {
		if now.Sub(p.stuck.since) >= preparingTimeout && now.Sub(p.stuck.asked) >= explainInterval {
			p.stuck.asked = now
			due = append(due, stuckPod{p.pod, p.stuck, p.status.NotReady})
		}
	}
	return due
}

// stuckLocked says that a pod which is wanted waits for its node.
func (p *pod) stuckLocked() bool {
	return p.stuck.reason != "" && !p.deleting && p.pod.Phase != podruntime.Failed
}

// unhealthy is the reason of a kubelet's events about failed probes.
const unhealthy = "Unhealthy"

// lastWarning returns the latest warning in a pod's events, or nothing if there is none.
func (r *Runtime) lastWarning(ctx context.Context, p stuckPod) (string, error) {
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
		event := &events.Items[i]
		if p.warning.reason == podruntime.ReasonNotReady && event.Reason != unhealthy {
			continue // Any other warning is about something else.
		}
		if last == nil || lastSeen(event).After(lastSeen(last)) {
			last = event
		}
	}
	switch notReady := p.warning.reason == podruntime.ReasonNotReady; {
	case last == nil && notReady:
		return p.notReady, nil
	case last == nil:
		return "", nil
	case notReady:
		return fmt.Sprintf("%s: %s", last.Reason, last.Message), nil
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

// warn records what keeps a pod waiting, if it still waits for the same.
func (r *Runtime) warn(of stuckPod, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pods[of.Key]
	if p == nil || p.pod.UID != of.UID || !p.stuckLocked() || p.stuck.reason != of.warning.reason {
		return
	}
	p.stuck.message = message
	to := p.pod
	if to.Phase == podruntime.Ready {
		to = p.fitness(to)
	} else {
		to.Reason, to.Message = p.stuck.over(p.status.Reason, p.status.Message)
	}
	if to != p.pod {
		r.changeLocked(p, to)
	}
}
