package local

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/local/launch"
)

// Check implements podruntime.Runtime.
func (r *Runtime) Check(spec podruntime.Spec) (podruntime.Advice, error) {
	plan, err := r.planFor(&spec)
	if err != nil {
		return podruntime.Advice{}, err
	}
	return plan.advice(), nil
}

// LabelSandbox implements podruntime.Runtime. The label is not stored: it is set
// again after a restart.
func (r *Runtime) LabelSandbox(_ context.Context, key podruntime.Key, uid types.UID, sandbox string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.pods[key]
	if !ok || (uid != "" && p.pod.UID != uid) || p.deleting {
		return fmt.Errorf("labelling pod %s: %w", key, podruntime.ErrNotFound)
	}
	if p.sandbox != sandbox {
		p.sandbox = sandbox
		r.observeLocked(p)
	}
	return nil
}

// Create implements podruntime.Runtime.
func (r *Runtime) Create(ctx context.Context, spec podruntime.Spec) (podruntime.Pod, error) {
	plan, err := r.planFor(&spec)
	if err != nil {
		return podruntime.Pod{}, fmt.Errorf("creating pod %s: %w", spec.Key, err)
	}
	p := newPod(podruntime.Pod{
		Key: spec.Key, UID: types.UID(uuid.NewString()),
		Pool: spec.Pool, PoolUID: spec.PoolUID, TemplateHash: spec.TemplateHash, WorkDir: plan.workDir,
		Phase: podruntime.Starting, Message: "starting", NodeName: r.nodeName, CreatedAt: r.config.Clock.Now(),
	}, plan.cgroup, plan)
	p.template, p.limits = spec.Template, r.limitsOf(spec.Template)
	if !plan.host {
		p.pod.Message = fmt.Sprintf("getting image %q", plan.image.Text)
	}
	if quota := plan.cgroup.CPUQuotaMicros; quota > 0 && quota < launch.CPUPeriodMicros {
		// A quota holds a step up for the rest of the period once it is used.
		klog.FromContext(ctx).V(2).Info("A CPU limit below 1 makes steps wait for up to 100 ms: prefer a request",
			"pod", spec.Key.String(), "quotaMicros", quota)
	}
	if p.users, err = r.users.take(); err != nil {
		return podruntime.Pod{}, fmt.Errorf("creating pod %s: %w", spec.Key, err)
	}
	if err := r.reserve(p); err != nil {
		r.users.giveBack(p.pod.UID, p.users)
		return podruntime.Pod{}, fmt.Errorf("creating pod %s: %w", spec.Key, err)
	}
	// The record comes before anything else of the pod, so that nothing of it
	// can be left behind that nobody knows of.
	err = os.Mkdir(r.podDir(p.pod.UID), 0o700)
	if err == nil {
		err = r.save(p, p.pod)
	}
	if err != nil {
		return podruntime.Pod{}, fmt.Errorf("creating pod %s: %w", spec.Key, errors.Join(err, r.abandon(ctx, p)))
	}
	state := p.pod
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tellLocked(podruntime.Event{Pod: state})
	r.observeLocked(p)
	r.jobs = append(r.jobs, func(ctx context.Context) { r.supervise(ctx, p, r.startPod) })
	return state, nil
}

// abandon gives back what a new pod has taken, and removes what there is of its files.
func (r *Runtime) abandon(ctx context.Context, p *pod) error {
	r.mu.Lock()
	delete(r.pods, p.pod.Key)
	r.mu.Unlock()
	if err := r.discard(ctx, p.pod.UID); err != nil {
		return err
	}
	r.users.giveBack(p.pod.UID, p.users)
	return nil
}

// reserve takes the pod's key.
func (r *Runtime) reserve(p *pod) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != running {
		return errors.New("the local runtime does not run")
	}
	if _, taken := r.pods[p.pod.Key]; taken {
		return podruntime.ErrExists
	}
	r.pods[p.pod.Key] = p
	return nil
}

// Delete implements podruntime.Runtime.
func (r *Runtime) Delete(_ context.Context, key podruntime.Key, uid types.UID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.pods[key]
	if !ok || (uid != "" && p.pod.UID != uid) {
		return fmt.Errorf("deleting pod %s: %w", key, podruntime.ErrNotFound)
	}
	p.deleting = true
	r.observeLocked(p)
	if p.interrupt != nil {
		p.interrupt()
	}
	return nil
}
