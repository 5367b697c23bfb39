package local

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/local/disk"
	"arl.io/arl/pkg/podruntime/local/idrange"
	"arl.io/arl/pkg/podruntime/local/launch"
)

// pod is one pod. Its goroutine alone changes it, apart from deleting and
// interrupt; the fields are guarded by Runtime.mu.
type pod struct {
	pod podruntime.Pod
	// plan says what to run; nil for a pod of an earlier process.
	plan *plan
	// users are the pod's until its files are gone. They are not changed.
	users idrange.Lease
	// cgroup says how the pod's cgroup is made.
	cgroup launch.Cgroup
	// template is what the pod was made from; nil if that is not known any more.
	// It is not changed.
	template *corev1.PodTemplateSpec
	// image is the digest of its image, once that is known. Guarded by Runtime.mu.
	image string
	// release ends the use of the image; nil if there is none. The pod's goroutine
	// alone touches it.
	release func()
	// sandbox is the name of the sandbox that has the pod, if LabelSandbox said
	// so to this process. Guarded by Runtime.mu.
	sandbox string
	// readyAt is when the pod became Ready in this process; zero if it is not.
	readyAt time.Time
	// settled is closed when the pod is Ready or Failed for the first time.
	settled   chan struct{}
	isSettled bool
	// client is set while the pod is Ready.
	client *client.Client
	// probed says that the agent carries out probes of the template.
	probed bool
	// kills are the processes of the pod that the kernel has ended for want of memory.
	kills killCount
	// limits are what the pod may take of the disk. They are not changed.
	limits disk.Limits
	// condemned is why the pod is to fail; nil if it is not. cleared is closed when the files of a
	// failed pod are gone.
	condemned *failure
	cleared   chan struct{}
	// deleting is set once Delete was called.
	deleting bool
	// interrupt makes the goroutine drop what it waits for; nil before it runs.
	interrupt context.CancelFunc
}

func newPod(state podruntime.Pod, cgroup launch.Cgroup, plan *plan) *pod {
	return &pod{pod: state, cgroup: cgroup, plan: plan, settled: make(chan struct{}), cleared: make(chan struct{})}
}

// disconnectLocked ends the talk with the agent.
func (p *pod) disconnectLocked() {
	if p.client != nil {
		p.client.Close()
		p.client = nil
	}
}

// change is a step of a pod to Ready or Failed.
type change struct {
	phase           podruntime.Phase
	reason, message string
	client          *client.Client
	// probed: the agent carries out probes; unready: they do not let the pod take work.
	probed, unready bool
}

// advance moves a pod to another phase and tells of it.
func (r *Runtime) advance(ctx context.Context, p *pod, to change) {
	r.mu.Lock()
	if to.phase != podruntime.Ready {
		p.disconnectLocked()
	}
	p.client, p.probed, p.pod.Unready = to.client, to.probed, to.unready
	if p.pod.Phase, p.pod.Reason, p.pod.Message = to.phase, to.reason, to.message; !p.isSettled {
		p.isSettled = true
		close(p.settled)
	}
	if to.phase == podruntime.Ready {
		p.readyAt = r.config.Clock.Now()
	}
	state := p.pod
	r.tellLocked(podruntime.Event{Pod: state})
	r.observeLocked(p)
	r.mu.Unlock()
	klog.FromContext(ctx).V(2).Info("Pod changed", "pod", state.Key.String(), "uid", state.UID,
		"phase", state.Phase, "reason", state.Reason, "message", state.Message)
}

// snapshot returns the pod as last told of.
func (r *Runtime) snapshot(p *pod) podruntime.Pod {
	r.mu.Lock()
	defer r.mu.Unlock()
	return p.pod
}

func (r *Runtime) tellLocked(event podruntime.Event) {
	r.events = append(r.events, event)
	r.signalLocked()
}

// forget drops a pod of which nothing is left.
func (r *Runtime) forget(p *pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.disconnectLocked()
	delete(r.pods, p.pod.Key)
	r.tellLocked(podruntime.Event{Pod: p.pod, Deleted: true})
	r.observeLocked(p)
}
