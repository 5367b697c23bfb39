// Package probe carries out the startup and readiness probes of a template where
// no kubelet does, with the semantics of Kubernetes. Liveness probes are not its
// business: a pod is never restarted.
//
// A failure of the startup probe is final. What Kubernetes calls a probe error,
// such as a command that is not there, counts as a failure, so that it is seen.
//
// Goroutines: Run starts none that outlives an attempt. Prober.mu is the only lock. Read
// probe.go first, then attempt.go.
package probe

import (
	"context"
	"fmt"
	"sync"
	"time"

	"arl.io/arl/pkg/agent/process"
	"arl.io/arl/pkg/agent/wire"
)

// Config makes a Prober.
type Config struct {
	Probes wire.Probes
	// Supervisor runs the commands of exec probes, in Dir with the environment Env.
	Supervisor *process.Supervisor
	Dir        string
	Env        []string
}

// Prober carries out probes. It is safe for concurrent use.
type Prober struct {
	config Config
	// attempt makes one attempt at a probe.
	attempt func(context.Context, *wire.Probe) error

	mu        sync.Mutex
	readiness wire.Readiness
}

// New returns a prober whose probes Run carries out, or an error that names the
// field of the probes that is wrong.
func New(config Config) (*Prober, error) {
	if err := validate(config.Probes); err != nil {
		return nil, err
	}
	config.Probes.Startup = withDefaults(config.Probes.Startup)
	config.Probes.Readiness = withDefaults(config.Probes.Readiness)
	p := &Prober{config: config, readiness: wire.Readiness{State: wire.Starting}}
	p.attempt = p.try
	return p, nil
}

// withDefaults returns a copy of the probe with the defaults of Kubernetes.
func withDefaults(probe *wire.Probe) *wire.Probe {
	if probe == nil {
		return nil
	}
	complete := *probe
	for value, otherwise := range map[*int32]int32{
		&complete.TimeoutSeconds: 1, &complete.PeriodSeconds: 10, &complete.SuccessThreshold: 1, &complete.FailureThreshold: 3,
	} {
		if *value == 0 {
			*value = otherwise
		}
	}
	return &complete
}

// Readiness returns what the probes have found so far.
func (p *Prober) Readiness() wire.Readiness {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.readiness
}

func (p *Prober) set(state, message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readiness = wire.Readiness{State: state, Message: message}
}

// Run carries out the probes until ctx ends. It is called once, at the start of
// the container: initial delays count from then.
func (p *Prober) Run(ctx context.Context) {
	begin := time.Now()
	startup, readiness := p.config.Probes.Startup, p.config.Probes.Readiness
	if startup != nil && !p.startUp(ctx, begin, startup) {
		return
	}
	if readiness == nil {
		p.set(wire.Ready, "")
		return
	}
	p.watch(ctx, begin, readiness)
}

// startUp repeats the startup probe until it succeeds, and says whether it did.
func (p *Prober) startUp(ctx context.Context, begin time.Time, probe *wire.Probe) (started bool) {
	p.set(wire.Starting, "the startup probe has not been tried yet")
	failures := int32(0)
	p.repeat(ctx, begin, probe, func(err error) (goOn bool) {
		if err == nil {
			started = true
			return false
		}
		failures++
		message := fmt.Sprintf("the startup probe failed %d of %d times: %v", failures, probe.FailureThreshold, err)
		if failures >= probe.FailureThreshold {
			p.set(wire.StartupFailed, message)
			return false
		}
		p.set(wire.Starting, message)
		return true
	})
	return started
}

// watch repeats the readiness probe until ctx ends.
func (p *Prober) watch(ctx context.Context, begin time.Time, probe *wire.Probe) {
	state := wire.Starting
	p.set(state, "the readiness probe has not been tried yet")
	successes, failures := int32(0), int32(0)
	p.repeat(ctx, begin, probe, func(err error) (goOn bool) {
		if err == nil {
			successes, failures = successes+1, 0
			if successes >= probe.SuccessThreshold {
				state = wire.Ready
				p.set(state, "")
			} else if state != wire.Ready {
				p.set(state, fmt.Sprintf("the readiness probe succeeded %d of %d times", successes, probe.SuccessThreshold))
			}
			return true
		}
		successes, failures = 0, failures+1
		if failures >= probe.FailureThreshold {
			state = wire.NotReady
		}
		if state != wire.Ready {
			p.set(state, fmt.Sprintf("the readiness probe failed (%d in a row, failureThreshold %d): %v", failures, probe.FailureThreshold, err))
		}
		return true
	})
}

// repeat makes one attempt after another until judge, which gets the outcome,
// has had enough or ctx ends.
func (p *Prober) repeat(ctx context.Context, begin time.Time, probe *wire.Probe, judge func(error) (goOn bool)) {
	delay := time.NewTimer(time.Until(begin.Add(seconds(probe.InitialDelaySeconds))))
	defer delay.Stop()
	select {
	case <-ctx.Done():
		return
	case <-delay.C:
	}
	period := time.NewTicker(seconds(probe.PeriodSeconds))
	defer period.Stop()
	for {
		bounded, cancel := context.WithTimeout(ctx, seconds(probe.TimeoutSeconds))
		err := p.attempt(bounded, probe)
		cancel()
		if ctx.Err() != nil || !judge(err) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-period.C:
		}
	}
}

func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }
