// Package health finds the pods whose agent does not answer any more: a process that was stopped, that
// hangs, or that is starved. Without it such a pod stays in use until a task in it times out.
//
// Every pod that is Ready is probed: once every Interval, and more often after a missed probe. An agent
// that has missed all probes for Patience, and at least minMisses of them, is lost. So an agent that
// stops answering is found after about Interval + Patience. One that breaks the protocol is lost at
// once.
//
// If many agents miss their probes at the same time, the server or its network is the likelier cause.
// Then an agent is lost only after DoubtPatience: see Prober.patience.
//
// # Costs
//
// A probe is one small request over a connection that is open already. At most maxRate probes are
// begun per second in the long run: with more pods than that allows for, the interval is longer. At
// most parallel probes wait for an answer at the same time. The first probe of a pod comes at a random
// time within the interval, and later ones vary by a tenth of it, which spreads the probes of pods that
// were found at the same time.
//
// Run owns all goroutines and joins them. Prober.mu is a leaf but for the timers' lock.
package health

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler/timer"
	"arl.io/arl/pkg/scheduler/work"
)

const (
	// Interval is the time between two probes of an agent that answers.
	Interval = 15 * time.Second
	// Patience is how long an agent may miss every probe before it is lost. It is far above what an
	// agent takes whose pod starves it: one at its limits of processes and CPU answers within seconds.
	Patience = 30 * time.Second
	// DoubtPatience is the same while many agents miss their probes.
	DoubtPatience = 5 * time.Minute
	// minMisses keeps a server that was suspended itself from judging by one probe.
	minMisses = 3
	// doubtMisses is how many agents have to miss their probes, and make half of all agents, for the
	// cause to be looked for elsewhere. A server with fewer pods is right about each of them.
	doubtMisses = 5
	// probeTimeout bounds one probe, and missPause is between a missed one and the next.
	probeTimeout = 10 * time.Second
	missPause    = 5 * time.Second
	// maxRate bounds the probes per second.
	maxRate = 200
	// parallel bounds the probes under way, and so those that wait for agents that never answer.
	parallel = 256
	// jitter is the part of the interval by which it varies.
	jitter = 0.1
)

// Config is what a Prober needs. All fields are needed.
type Config struct {
	// Runtime is asked for the agents of pods, and for nothing else.
	Runtime podruntime.Runtime
	Timers  *timer.Queue
	Clock   clock.PassiveClock
	// Lost reports a pod whose agent is lost, and how: with reason podruntime.ReasonAgentLost, or
	// ReasonAgentProtocolViolation if it has broken the protocol. It may not block.
	Lost func(pod podruntime.Key, uid types.UID, reason, message string)
}

// Prober probes the agents of pods. It is safe for concurrent use.
type Prober struct {
	config Config
	due    *work.Queue[types.UID]

	mu   sync.Mutex
	pods map[types.UID]*subject
	// missing counts the pods that missed their last probe.
	missing int
}

// subject is a pod that is probed. Prober.mu guards its fields but key and uid, which do not change.
type subject struct {
	key podruntime.Key
	uid types.UID
	// misses counts the probes missed since the last answer, and since is when the first of them began.
	misses int
	since  time.Time
}

// New returns a Prober that probes nothing before Run.
func New(config Config) *Prober {
	return &Prober{config: config, due: work.NewQueue[types.UID]("agents to probe", config.Timers), pods: map[types.UID]*subject{}}
}

// probeTimer and answerTimer are the keys of the timers of a pod: of its next probe, and of the end of
// the one under way.
type (
	probeTimer  struct{ uid types.UID }
	answerTimer struct{ uid types.UID }
)

// Observe takes in a change of a pod. It never blocks.
func (p *Prober) Observe(event podruntime.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	uid := event.Pod.UID
	if event.Deleted || event.Pod.Phase != podruntime.Ready {
		p.dropLocked(uid)
		return
	}
	if _, known := p.pods[uid]; known {
		return
	}
	p.pods[uid] = &subject{key: event.Pod.Key, uid: uid}
	p.scheduleLocked(uid, time.Duration(rand.Float64()*float64(p.intervalLocked())))
}

// Run probes until ctx ends.
func (p *Prober) Run(ctx context.Context) { p.due.Run(ctx, parallel, p.probe) }

func (p *Prober) scheduleLocked(uid types.UID, in time.Duration) {
	p.config.Timers.After(probeTimer{uid}, in, func() { p.due.Add(uid) })
}

// intervalLocked returns the time between two probes of a pod.
func (p *Prober) intervalLocked() time.Duration {
	return max(Interval, time.Duration(len(p.pods))*time.Second/maxRate)
}

// dropLocked ends the probes of a pod.
func (p *Prober) dropLocked(uid types.UID) {
	s, ok := p.pods[uid]
	if !ok {
		return
	}
	if s.misses > 0 {
		p.missing--
	}
	delete(p.pods, uid)
	p.config.Timers.Stop(probeTimer{uid})
}

// probe asks the agent of a pod once.
func (p *Prober) probe(ctx context.Context, uid types.UID) error {
	p.mu.Lock()
	s, ok := p.pods[uid]
	p.mu.Unlock()
	if !ok {
		return nil
	}
	begun := p.config.Clock.Now()
	err := p.ask(ctx, s)
	if ctx.Err() != nil {
		return nil
	}
	reason := podruntime.ReasonAgentLost
	lost, message := p.settle(s, begun, err)
	if errors.Is(err, client.ErrProtocol) {
		reason = podruntime.ReasonAgentProtocolViolation
	}
	if lost {
		klog.FromContext(ctx).V(2).Info("An agent is lost", "pod", s.key, "uid", uid, "err", err)
		p.config.Lost(s.key, uid, reason, message)
	}
	return nil
}

var errSilent = fmt.Errorf("no answer within %v", probeTimeout)

// ask returns nil if the agent of a pod answers.
func (p *Prober) ask(ctx context.Context, s *subject) error {
	agent, err := p.config.Runtime.Agent(s.key, s.uid)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.config.Timers.After(answerTimer{s.uid}, probeTimeout, func() { cancel(errSilent) })
	defer p.config.Timers.Stop(answerTimer{s.uid})
	_, err = agent.Health(ctx)
	return err
}

// settle takes in how a probe went, and says whether the agent is lost. If it is not, the next probe
// is scheduled.
func (p *Prober) settle(s *subject, begun time.Time, err error) (lost bool, message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pods[s.uid] != s {
		return false, ""
	}
	if err == nil || errors.Is(err, podruntime.ErrNotFound) {
		// A pod that is not Ready any more is about to be reported as such.
		if s.misses > 0 {
			p.missing--
		}
		s.misses = 0
		interval := p.intervalLocked()
		p.scheduleLocked(s.uid, wait.Jitter(interval-time.Duration(jitter/2*float64(interval)), jitter))
		return false, ""
	}
	if errors.Is(err, client.ErrProtocol) {
		p.dropLocked(s.uid)
		return true, fmt.Sprintf("the agent has been taken over by something that runs in the pod: %v", err)
	}
	if s.misses == 0 {
		p.missing++
		s.since = begun
	}
	s.misses++
	silent := p.config.Clock.Since(s.since)
	if s.misses < minMisses || silent < p.patienceLocked() {
		p.scheduleLocked(s.uid, missPause)
		return false, ""
	}
	message = fmt.Sprintf("the agent has not answered for %v, the last of %d probes: %v", silent.Round(time.Second), s.misses, err)
	p.dropLocked(s.uid)
	return true, message
}

// patienceLocked returns how long an agent may miss every probe before it is lost.
func (p *Prober) patienceLocked() time.Duration {
	if p.missing >= doubtMisses && 2*p.missing >= len(p.pods) {
		return DoubtPatience
	}
	return Patience
}
