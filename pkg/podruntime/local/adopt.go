package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/local/launch"
)

// adoptTimeout is how long Run waits for the agents of adopted pods before it
// tells of the pods; who answers later becomes Ready later.
const adoptTimeout = 3 * time.Second

// endGrace is how long an adopted pod that does not answer is given to turn out
// to be ending.
const endGrace = time.Second

// adoptAll takes over the pods there are. It returns when each is known to be
// Ready or Failed, or after adoptTimeout.
func (r *Runtime) adoptAll(ctx context.Context, pods *sync.WaitGroup) error {
	entries, err := os.ReadDir(filepath.Join(r.config.Dir, podsName))
	if err != nil {
		return fmt.Errorf("reading the pods: %w", err)
	}
	var adopted []*pod
	for _, entry := range entries {
		uid := types.UID(entry.Name())
		rec, err := r.load(uid)
		if err != nil {
			// Written before anything is started, so nothing was, unless the
			// disk has lost it; then the process is named by its own file.
			klog.FromContext(ctx).Error(err, "A pod without a readable record is removed", "uid", uid)
			pods.Go(func() { r.removeUnknown(ctx, uid) })
			continue
		}
		p := newPod(rec.Pod, rec.Cgroup, nil)
		p.template, p.image, p.users, p.limits = rec.Template, rec.Image, rec.users(), r.limitsOf(rec.Template)
		switch {
		case rec.Image != "":
			r.images.Hold(rec.Image)
			p.release = func() { r.images.Release(rec.Image) }
		case rec.Template == nil:
			p.release = r.images.Pin() // an earlier version did not write its image down
		}
		r.mu.Lock()
		r.pods[p.pod.Key] = p
		r.mu.Unlock()
		adopted = append(adopted, p)
		pods.Go(func() { r.supervise(ctx, p, r.adopt) })
	}
	r.awaitSettled(ctx, adopted)
	return nil
}

// awaitSettled waits until all pods are settled, or long enough. Afterwards
// every one of them has been told of.
func (r *Runtime) awaitSettled(ctx context.Context, pods []*pod) {
	ctx, cancel := context.WithTimeout(ctx, adoptTimeout)
	defer cancel()
	for _, p := range pods {
		select {
		case <-p.settled:
		case <-ctx.Done():
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range pods {
		if !p.isSettled {
			r.tellLocked(podruntime.Event{Pod: p.pod})
			r.observeLocked(p)
		}
	}
}

// adopt takes up a pod of an earlier process where it stands.
func (r *Runtime) adopt(ctx context.Context, p *pod) (*process, error) {
	if p.pod.Phase == podruntime.Failed {
		return nil, &failure{p.pod.Reason, errors.New(p.pod.Message)}
	}
	which, err := launch.ReadProcess(r.podPath(p.pod.UID, processName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &failure{podruntime.ReasonStart, errors.New("the server ended while the pod was starting")}
	}
	if err != nil {
		return nil, &failure{podruntime.ReasonStart, err}
	}
	process, err := openProcess(which)
	if errors.Is(err, errGone) {
		return nil, r.whyEnded(p)
	}
	if err != nil {
		return nil, &failure{podruntime.ReasonStart, err}
	}
	if err := r.adoptProcess(ctx, p, process, which.PID); err != nil {
		return nil, errors.Join(err, process.close())
	}
	return process, nil
}

// adoptProcess makes a pod whose process there is Ready.
func (r *Runtime) adoptProcess(ctx context.Context, p *pod, process *process, pid int) error {
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err == nil && len(command) > 0 && !strings.HasPrefix(string(command), agentTarget+"\x00") {
		// A launch that was cut off has a process that never becomes an agent,
		// and whose socket takes a request and never answers.
		return &failure{podruntime.ReasonStart, errors.New("the server ended while the pod was starting")}
	}
	greeting, cancel := context.WithTimeoutCause(ctx, r.config.StartTimeout,
		fmt.Errorf("no answer within %v", r.config.StartTimeout))
	defer cancel()
	err = r.connect(greeting, p)
	if err == nil || ctx.Err() != nil {
		return err
	}
	// A process that is being killed answers no more, a moment before it has ended.
	ending, stop := context.WithTimeout(ctx, endGrace)
	defer stop()
	if process.wait(ending) == nil {
		return r.whyEnded(p)
	}
	return &failure{podruntime.ReasonStart, err}
}

// removeUnknown removes what is left of a pod of which only the UID is known.
func (r *Runtime) removeUnknown(ctx context.Context, uid types.UID) {
	// Nobody knows which image it uses.
	defer r.images.Pin()()
	state := podruntime.Pod{UID: uid, Key: podruntime.Key{Name: string(uid)}}
	users := usersOf(r.podDir(uid), uid)
	if r.removeWithRetries(ctx, newPod(state, launch.Cgroup{Parent: r.config.CgroupParent}, nil)) {
		r.users.giveBack(uid, users)
	}
}
