package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/kube/phase"
)

const (
	// firstPause and lastPause are between questions to an agent that does not
	// answer. The first is about what a process takes to begin to listen; the last is
	// little beside what keeps an agent from that for long, such as an image.
	firstPause = 20 * time.Millisecond
	lastPause  = time.Second
	// recheckPause is between questions to an agent that does answer, on a node
	// that is not heard of.
	recheckPause = 5 * time.Second
	// askTimeout bounds one question, the making of the connection included.
	askTimeout = 5 * time.Second
)

// errUnfit says that the right agent answers, and is of no use.
var errUnfit = errors.New("the pod cannot be used")

// askLocked has a goroutine ask a pod's agent until it knows, or until
// disconnectLocked is called.
func (r *Runtime) askLocked(p *pod, ask func(context.Context, *pod)) {
	asking, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	key, uid := p.pod.Key, p.pod.UID
	r.startLocked(func(ctx context.Context) {
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		logger := klog.FromContext(ctx).WithValues("pod", klog.KRef(key.Namespace, key.Name), "uid", uid)
		ask(klog.NewContext(asking, logger), p)
	})
}

// greet asks the agent of a pod that is Starting until it answers, and makes
// the pod Ready; or Failed, once the container has run for too long without an answer.
func (r *Runtime) greet(ctx context.Context, p *pod) {
	var agent *client.Client
	var of phase.State
	defer func() {
		if agent != nil {
			agent.Close()
		}
	}()
	for pause := firstPause; ; pause = min(pause*3/2, lastPause) {
		state, status, runsSince := r.snapshot(p)
		if agent == nil || status.IP != of.IP || !bytes.Equal(status.Key, of.Key) {
			if agent != nil {
				agent.Close()
			}
			agent, of = r.connect(state.Key, status), status
		}
		err := r.ask(ctx, agent, state.UID)
		switch {
		case err == nil:
			if r.greeted(ctx, p, agent) {
				agent = nil
			}
			return
		case errors.Is(err, errUnfit):
			r.giveUp(ctx, p, podruntime.ReasonStart, err.Error())
			return
		case !runsSince.IsZero() && r.config.Clock.Since(runsSince) >= r.config.StartTimeout:
			r.giveUp(ctx, p, podruntime.ReasonStart, fmt.Sprintf("no answer from the agent within %v: %v", r.config.StartTimeout, err))
			return
		}
		klog.FromContext(ctx).V(4).Info("The agent does not answer yet", "err", err)
		select {
		case <-r.config.Clock.After(pause):
		case <-p.news:
			pause = firstPause
		case <-ctx.Done():
			return
		}
	}
}

// recheck asks the agent of a pod that is Ready for as long as the cluster
// doubts the pod, and makes it Failed once there was no answer for too long.
func (r *Runtime) recheck(ctx context.Context, p *pod) {
	answered := r.config.Clock.Now()
	for {
		agent, state := r.doubted(ctx, p)
		if agent == nil {
			return
		}
		err := r.ask(ctx, agent, state.UID)
		pause := lastPause
		if err == nil {
			answered, pause = r.config.Clock.Now(), recheckPause
		} else if r.config.Clock.Since(answered) >= r.config.StartTimeout {
			r.giveUp(ctx, p, podruntime.ReasonNodeLost, fmt.Sprintf("node %q is not heard of, nor is the agent: %v", state.NodeName, err))
			return
		}
		select {
		case <-r.config.Clock.After(pause):
		case <-p.news:
		case <-ctx.Done():
			return
		}
	}
}

// doubted returns the agent of a pod while the cluster doubts the pod, and ends
// the asking otherwise.
func (r *Runtime) doubted(ctx context.Context, p *pod) (*client.Client, podruntime.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil {
		return nil, p.pod
	}
	if !p.status.Doubtful {
		p.stop = nil
		return nil, p.pod
	}
	return p.client, p.pod
}

// snapshot returns what a question needs.
func (r *Runtime) snapshot(p *pod) (state podruntime.Pod, status phase.State, runsSince time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return p.pod, p.status, p.runsSince
}

// ask asks an agent once who it is.
func (r *Runtime) ask(ctx context.Context, agent *client.Client, uid types.UID) error {
	select {
	case r.asks <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-r.asks }()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	health, err := agent.Health(ctx)
	if errors.Is(err, client.ErrProtocol) {
		return fmt.Errorf("%w: %w", errUnfit, err)
	}
	if err != nil {
		return err
	}
	if err := podruntime.CheckAgent(health, uid); err != nil {
		return fmt.Errorf("%w: %w", errUnfit, err)
	}
	return nil
}

// greeted makes a pod Ready, unless there was something against it meanwhile.
func (r *Runtime) greeted(ctx context.Context, p *pod, agent *client.Client) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Whoever has nothing more to do with the agent has cancelled with the lock held.
	if ctx.Err() != nil {
		return false
	}
	p.stop, p.client = nil, agent
	to := p.pod
	to.Phase = podruntime.Ready
	r.changeLocked(p, p.fitness(to))
	klog.FromContext(ctx).V(2).Info("The agent answers", "after", r.config.Clock.Since(p.since), "notReady", p.status.NotReady)
	return true
}

// giveUp makes a pod Failed, unless somebody else was first.
func (r *Runtime) giveUp(ctx context.Context, p *pod, reason, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	r.failLocked(p, reason, message)
	klog.FromContext(ctx).V(2).Info("Pod has failed", "reason", reason, "message", message)
}
