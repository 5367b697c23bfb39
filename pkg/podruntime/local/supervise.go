package local

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"arl.io/arl/pkg/podruntime"
)

// Times of a deletion that does not succeed at once.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = 30 * time.Second
	// exitTimeout bounds the wait for a killed process in one attempt. Only a
	// kernel busy with its memory or disk takes longer.
	exitTimeout = 5 * time.Second
)

// begin brings a pod to Ready and returns its process, or a failure.
type begin func(context.Context, *pod) (*process, error)

// failure is why a pod is Failed.
type failure struct {
	reason string
	cause  error
}

func (f *failure) Error() string { return f.cause.Error() }
func (f *failure) Unwrap() error { return f.cause }

// supervise is the life of a pod: it begins, is watched, fails perhaps, and is
// deleted in the end. It returns early if ctx, which is Run's, ends: the pod
// then goes on.
func (r *Runtime) supervise(ctx context.Context, p *pod, begin begin) {
	logger := klog.FromContext(ctx).WithValues("pod", p.pod.Key.String(), "uid", p.pod.UID)
	ctx = klog.NewContext(ctx, logger)
	alive, interrupt := context.WithCancel(ctx)
	defer interrupt()
	r.mu.Lock()
	p.interrupt = interrupt
	if p.deleting {
		interrupt()
	}
	r.mu.Unlock()

	if err := r.live(alive, p, begin); err != nil && alive.Err() == nil {
		r.fail(ctx, p, err)
	}
	<-alive.Done()
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	p.disconnectLocked()
	r.mu.Unlock()
	if r.removeWithRetries(ctx, p) {
		if p.release != nil {
			p.release()
		}
		r.users.giveBack(p.pod.UID, p.users)
		r.setCleared(p)
		r.forget(p)
	}
}

// live begins a pod and returns when it has ended, and why, or when ctx ends.
func (r *Runtime) live(ctx context.Context, p *pod, begin begin) error {
	process, err := begin(ctx, p)
	if err != nil {
		return err
	}
	defer process.close()
	watching, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { r.watchReadiness(watching, p) })
	err = process.wait(ctx)
	stop()
	group.Wait()
	if err != nil {
		return err
	}
	return r.whyEnded(p)
}

// fail records and tells that a pod has failed. What it held of the machine's
// is freed at once, all but its record and its log.
func (r *Runtime) fail(ctx context.Context, p *pod, err error) {
	reason := podruntime.ReasonStart
	var f *failure
	if condemned := r.condemnation(p); condemned != nil {
		f, err = condemned, condemned
	}
	if f != nil || errors.As(err, &f) {
		reason = f.reason
	}
	if endErr := r.endProcess(ctx, p); endErr != nil {
		klog.FromContext(ctx).Error(endErr, "What is left of a failed pod's processes stays until the pod is deleted")
	}
	state := r.snapshot(p)
	state.Phase, state.Reason, state.Message = podruntime.Failed, reason, err.Error()
	saveErr := r.save(p, state)
	r.advance(ctx, p, change{phase: podruntime.Failed, reason: reason, message: err.Error()})
	// Nobody reaches the files any more. On a full disk, they make the room to save the failure.
	r.clear(ctx, p)
	if saveErr != nil {
		saveErr = r.save(p, state)
	}
	if saveErr != nil {
		// After a restart it is found to have no process, so it fails again.
		klog.FromContext(ctx).Error(saveErr, "A pod's failure could not be recorded")
	}
}

// whyEnded explains the end of a pod that ran.
func (r *Runtime) whyEnded(p *pod) error {
	if condemned := r.condemnation(p); condemned != nil {
		return condemned
	}
	if r.memoryKills(p) <= p.kills.before(r.config.Clock.Now()) {
		return &failure{podruntime.ReasonExited, errors.New("the agent's process has ended")}
	}
	if p.cgroup.MemoryBytes == 0 {
		return &failure{podruntime.ReasonOOM, errors.New("the kernel ended the pod: it has no limit of memory, and the machine had none left")}
	}
	return &failure{podruntime.ReasonOOM, errors.New("the kernel ended the pod: it used more memory than its limit")}
}

// removeWithRetries frees all that a pod holds. It returns false if ctx ended first.
func (r *Runtime) removeWithRetries(ctx context.Context, p *pod) bool {
	for delay := firstRetry; ; delay = min(2*delay, lastRetry) {
		err := r.remove(ctx, p)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		klog.FromContext(ctx).Error(err, "Deleting a pod failed and will be tried again", "after", delay)
		select {
		case <-r.config.Clock.After(delay):
		case <-ctx.Done():
			return false
		}
	}
}

// remove ends a pod's processes and removes its cgroup and folder. What is gone
// already is no error.
func (r *Runtime) remove(ctx context.Context, p *pod) error {
	if err := r.endProcess(ctx, p); err != nil {
		return fmt.Errorf("deleting pod %s: %w", p.pod.Key, err)
	}
	if err := r.discard(ctx, p.pod.UID); err != nil {
		return fmt.Errorf("deleting pod %s: %w", p.pod.Key, err)
	}
	return nil
}
