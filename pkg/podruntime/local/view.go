package local

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"arl.io/arl/pkg/podruntime"
)

// View is a pod as it is shown to people. It is not changed once it was given out.
type View struct {
	podruntime.Pod
	// Template is what the pod was made from; nil if an earlier version made it.
	Template *corev1.PodTemplateSpec
	// ImageDigest is that of its unpacked image; empty if there is none yet, or
	// the files are the machine's own.
	ImageDigest string
	// Sandbox is the sandbox that has the pod, if its pool asks for that label.
	Sandbox string
	// ReadyAt is when the agent first answered this server; zero if it has not.
	ReadyAt time.Time
	// Deleting says that the pod is being deleted, and Deleted that it is gone.
	Deleting, Deleted bool
}

// Observer is shown pods. Observe is called for each pod and each of its changes,
// one call at a time, by Run; it must not block.
type Observer interface {
	Observe(View)
}

// observeLocked has the observer shown a pod as it is now.
func (r *Runtime) observeLocked(p *pod) {
	if r.config.Observer == nil {
		return
	}
	_, there := r.pods[p.pod.Key]
	r.views = append(r.views, View{
		Pod: p.pod, Template: p.template, ImageDigest: p.image, Sandbox: p.sandbox, ReadyAt: p.readyAt,
		Deleting: p.deleting, Deleted: !there || r.pods[p.pod.Key] != p,
	})
	r.signalLocked()
}
