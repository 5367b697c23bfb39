package kube

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/kube/phase"
)

// pod is what is known of one pod. Its fields are guarded by Runtime.mu.
type pod struct {
	// pod is the pod as told. Its UID is empty until its creation was answered or seen.
	pod podruntime.Pod
	// status is what the cluster says of it.
	status phase.State
	// since is when the pod was created or adopted; runsSince when its container was
	// first seen to run, or zero.
	since, runsSince time.Time
	// stuck is what the node was found to say about a pod that it does not get prepared or ready.
	stuck warning
	// wasFit says that the pod has been Ready and not Unready.
	wasFit bool
	// sandbox is the name that the pod's label is known to have.
	sandbox string
	// seen says that the informer has told of the pod, so it will tell of its end.
	seen bool
	// creating says that the API server has not answered yet.
	creating bool
	// early is the pod of the name as it was last seen while creating, and earlyGone are the pods of the
	// name that went meanwhile.
	early     *corev1.Pod
	earlyGone []types.UID
	// held says that nothing is told of the pod before it is known to be Ready or Failed.
	held bool
	// deleting says that Delete was called, at deletedAt.
	deleting  bool
	deletedAt time.Time
	// client is set while the pod is Ready.
	client *client.Client
	// stop ends the goroutine that asks the agent, if there is one; news makes
	// it ask at once.
	stop context.CancelFunc
	news chan struct{}
}

// disconnectLocked ends the talk with the agent, and every attempt at one.
func (p *pod) disconnectLocked() {
	if p.stop != nil {
		p.stop()
		p.stop = nil
	}
	if p.client != nil {
		p.client.Close()
		p.client = nil
	}
}

// nudgeLocked has the agent asked at once.
func (p *pod) nudgeLocked() {
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// changeLocked tells of a pod's new state.
func (r *Runtime) changeLocked(p *pod, to podruntime.Pod) {
	p.pod = to
	if p.held && to.Phase == podruntime.Starting {
		return
	}
	r.releaseLocked(p)
	r.tellLocked(podruntime.Event{Pod: to})
}

// fitness returns a pod that is Ready with what the cluster says of its probes and gates.
func (p *pod) fitness(ready podruntime.Pod) podruntime.Pod {
	ready.Unready = p.status.NotReady != ""
	if !ready.Unready {
		p.wasFit = true
		ready.Reason, ready.Message = "", ""
		return ready
	}
	ready.Reason, ready.Message = p.stuck.over("", p.status.NotReady)
	if p.wasFit {
		ready.Reason = podruntime.ReasonNotReady
	}
	return ready
}

// failLocked makes a pod Failed for good.
func (r *Runtime) failLocked(p *pod, reason, message string) {
	if p.pod.Phase == podruntime.Starting {
		delete(r.workDirs, templateOf(p.pod))
	}
	p.disconnectLocked()
	to := p.pod
	to.Phase, to.Unready, to.Reason, to.Message = podruntime.Failed, false, reason, message
	r.changeLocked(p, to)
}

// forgetLocked drops a pod that is gone.
func (r *Runtime) forgetLocked(p *pod) {
	p.disconnectLocked()
	r.releaseLocked(p)
	delete(r.pods, p.pod.Key)
	r.forgetRecordLocked(p.pod.UID)
	r.tellLocked(podruntime.Event{Pod: p.pod, Deleted: true})
}

// releaseLocked ends the holding back of a pod's events.
func (r *Runtime) releaseLocked(p *pod) {
	if p.held {
		p.held = false
		r.held--
		r.settleLocked()
	}
}

// settleLocked notes that nothing is held back any more.
func (r *Runtime) settleLocked() {
	if r.held > 0 || !r.listed {
		return
	}
	select {
	case <-r.settled:
	default:
		close(r.settled)
	}
}
