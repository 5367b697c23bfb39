package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/local/image"
	"arl.io/arl/pkg/podruntime/local/launch"
)

// askAgain is the pause before an agent that gave no answer is asked once more.
const askAgain = 20 * time.Millisecond

// startPod brings a new pod to Ready.
func (r *Runtime) startPod(ctx context.Context, p *pod) (*process, error) {
	source, err := r.imageFor(ctx, p)
	if err != nil {
		return nil, &failure{podruntime.ReasonImagePull, err}
	}
	select {
	case r.starts <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-r.starts }()
	ctx, cancel := context.WithTimeoutCause(ctx, r.config.StartTimeout,
		fmt.Errorf("not ready after %v", r.config.StartTimeout))
	defer cancel()

	begun := r.config.Clock.Now()
	process, err := r.launchPod(ctx, p, source)
	if err != nil {
		return nil, &failure{podruntime.ReasonStart, err}
	}
	if err := r.connect(ctx, p); err != nil {
		return nil, &failure{podruntime.ReasonStart, errors.Join(err, process.close())}
	}
	klog.FromContext(ctx).V(4).Info("Pod started", "took", r.config.Clock.Since(begun))
	return process, nil
}

// imageFor returns the plan's image; that of the host has no files of its own.
// The image is in use until the pod is removed. That is recorded before anything
// is mounted, so that the next process knows.
func (r *Runtime) imageFor(ctx context.Context, p *pod) (image.Image, error) {
	if p.plan.host {
		return image.Image{Rootfs: "/", Config: v1.Config{}}, nil
	}
	source, err := r.images.Get(ctx, p.plan.image, p.plan.pullPolicy)
	if err != nil {
		return source, err
	}
	p.release = func() { r.images.Release(source.Digest) }
	r.mu.Lock()
	p.image = source.Digest
	r.mu.Unlock()
	return source, r.save(p, r.snapshot(p))
}

// launchPod makes the pod's files and socket, and starts its container.
func (r *Runtime) launchPod(ctx context.Context, p *pod, source image.Image) (*process, error) {
	spec, err := r.prepare(p, source)
	if err != nil {
		return nil, err
	}
	listener, err := r.listen(p)
	if err != nil {
		return nil, err
	}
	// The container has its own by then, so that the socket dies with it.
	defer listener.Close()
	started, err := launch.Start(ctx, spec, launch.Means{
		Program: r.config.LauncherPath, Listener: listener,
	})
	if err != nil {
		return nil, errors.Join(err, r.endProcess(ctx, p))
	}
	process, err := openProcess(started)
	if err != nil {
		return nil, fmt.Errorf("the agent ended at once: %w", err)
	}
	return process, nil
}

// listen makes the pod's socket, which only this user reaches.
func (r *Runtime) listen(p *pod) (*os.File, error) {
	address := &net.UnixAddr{Net: "unix", Name: r.socketPath(p.pod.UID)}
	listener, err := net.ListenUnix("unix", address)
	if err != nil {
		return nil, fmt.Errorf("the agent's socket: %w", err)
	}
	listener.SetUnlinkOnClose(false)
	defer listener.Close()
	if err := os.Chmod(r.podPath(p.pod.UID, socketName), 0o600); err != nil {
		return nil, fmt.Errorf("the agent's socket: %w", err)
	}
	file, err := listener.File()
	if err != nil {
		return nil, fmt.Errorf("the agent's socket: %w", err)
	}
	return file, nil
}

// connect waits for the agent's answer and makes the pod Ready.
func (r *Runtime) connect(ctx context.Context, p *pod) error {
	config := client.UnixConfig(r.socketPath(p.pod.UID))
	config.Decodes = r.decodes
	agent := client.New(config)
	health, err := r.greet(ctx, p, agent)
	if err != nil {
		agent.Close()
		return err
	}
	to := change{phase: podruntime.Ready, client: agent, probed: health.Readiness != nil}
	to.unready, to.message = unreadiness(health)
	r.advance(ctx, p, to)
	return nil
}

// greet asks the agent who it is until it answers. The socket takes requests
// before the agent does, so as a rule it is asked once.
func (r *Runtime) greet(ctx context.Context, p *pod, agent *client.Client) (wire.Health, error) {
	for {
		health, err := agent.Health(ctx)
		switch {
		case err == nil:
			return health, podruntime.CheckAgent(health, p.pod.UID)
		case errors.Is(err, client.ErrProtocol):
			return health, err
		case ctx.Err() != nil:
			return health, fmt.Errorf("the agent does not answer: %w", context.Cause(ctx))
		case r.ended(p):
			return health, fmt.Errorf("the agent ended before it answered: %w", err)
		}
		select {
		case <-r.config.Clock.After(askAgain):
		case <-ctx.Done():
		}
	}
}

// ended says that the pod's first process is gone.
func (r *Runtime) ended(p *pod) bool {
	which, err := launch.ReadProcess(r.podPath(p.pod.UID, processName))
	if err != nil {
		return true
	}
	process, err := openProcess(which)
	if err != nil {
		return true
	}
	defer process.close()
	done, err := ended(process.fd.Fd())
	return done || err != nil
}
