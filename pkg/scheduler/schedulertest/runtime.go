package schedulertest

import (
	"context"
	"fmt"
	"sync"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/podruntime"
)

// Runtime is a podruntime.Runtime whose pods are entries of a map, each with an
// Agent. It outlives the Schedulers that run it one after another.
type Runtime struct {
	clock clock.PassiveClock
	// Behave is what the agents of new pods do.
	Behave Behaviour

	mu      sync.Mutex
	changed *sync.Cond
	pods    map[podruntime.Key]*Pod
	events  []podruntime.Event
	stopped bool
	// manual leaves pods Starting until Ready is called.
	manual bool
	refuse func(podruntime.Spec) error
	check  func(podruntime.Spec) (podruntime.Advice, error)
	// label is asked before a pod is labelled; labels are the sandboxes that
	// pods' labels name, and attempts how often one was to be set.
	label    func(sandbox string) error
	labels   map[types.UID]string
	attempts int
	// created counts all pods there ever were, most the largest number at a time.
	created, most int
}

// Pod is a pod of a Runtime.
type Pod struct {
	podruntime.Pod
	Agent *Agent
}

var _ podruntime.Runtime = (*Runtime)(nil)

// NewRuntime returns a runtime without pods.
func NewRuntime(clock clock.PassiveClock) *Runtime {
	r := &Runtime{clock: clock, pods: map[podruntime.Key]*Pod{}, labels: map[types.UID]string{}}
	r.changed = sync.NewCond(&r.mu)
	return r
}

// Manual says whether new pods stay Starting until Ready or Fail is called.
func (r *Runtime) Manual(manual bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.manual = manual
}

// Refuse has Create fail with what the function returns, unless it is nil. The
// function may block.
func (r *Runtime) Refuse(refuse func(podruntime.Spec) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = refuse
}

// Judge has Check answer what the function returns, unless it is nil.
func (r *Runtime) Judge(check func(podruntime.Spec) (podruntime.Advice, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.check = check
}

// RefuseLabels has LabelSandbox fail with what the function returns, unless it is nil.
func (r *Runtime) RefuseLabels(refuse func(sandbox string) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.label = refuse
}

// Label returns the sandbox that a pod's label names, and how often any pod was to be labelled.
func (r *Runtime) Label(pod types.UID) (sandbox string, attempts int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.labels[pod], r.attempts
}

// Created returns how many pods were ever created, and the most there were at a time.
func (r *Runtime) Created() (all, most int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.created, r.most
}

// Pods returns the pods there are.
func (r *Runtime) Pods() []Pod {
	r.mu.Lock()
	defer r.mu.Unlock()
	pods := make([]Pod, 0, len(r.pods))
	for _, p := range r.pods {
		pods = append(pods, *p)
	}
	return pods
}

// Pod returns the pod of a name in the test's namespace, or nil.
func (r *Runtime) Pod(name string) *Pod {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pods[podruntime.Key{Namespace: Namespace, Name: name}]
}

// Ready makes a pod ready.
func (r *Runtime) Ready(name string) { r.set(name, podruntime.Ready, "", "") }

// SetUnready changes whether a ready pod's probes let it take work.
func (r *Runtime) SetUnready(name string, unready bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.pods[podruntime.Key{Namespace: Namespace, Name: name}]; p != nil {
		p.Unready = unready
		r.tellLocked(podruntime.Event{Pod: p.Pod})
	}
}

// Fail makes a pod fail.
func (r *Runtime) Fail(name, reason, message string) { r.set(name, podruntime.Failed, reason, message) }

// Stick has a pod wait for something.
func (r *Runtime) Stick(name, reason, message string) {
	r.set(name, podruntime.Starting, reason, message)
}

func (r *Runtime) set(name string, phase podruntime.Phase, reason, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pods[podruntime.Key{Namespace: Namespace, Name: name}]
	if p == nil {
		return
	}
	p.Phase, p.Reason, p.Message = phase, reason, message
	if phase == podruntime.Failed {
		p.Agent.kill()
	}
	r.tellLocked(podruntime.Event{Pod: p.Pod})
}

// Lose makes a pod vanish, as if somebody else had deleted it.
func (r *Runtime) Lose(name string) {
	_ = r.Delete(context.Background(), podruntime.Key{Namespace: Namespace, Name: name}, "")
}

func (r *Runtime) tellLocked(event podruntime.Event) {
	r.events = append(r.events, event)
	r.changed.Broadcast()
}

// Name is "fake".
func (r *Runtime) Name() string { return "fake" }

// Run tells handler of the pods until ctx ends. It may be called again after that.
func (r *Runtime) Run(ctx context.Context, handler podruntime.Handler) error {
	r.mu.Lock()
	r.events, r.stopped = nil, false
	for _, p := range r.pods {
		r.tellLocked(podruntime.Event{Pod: p.Pod})
	}
	first := len(r.events)
	r.mu.Unlock()
	stop := context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.stopped = true
		r.changed.Broadcast()
	})
	defer stop()
	for told := 0; ; told++ {
		if told == first {
			handler.PodsSynced()
		}
		event, ok := r.next()
		if !ok {
			return nil
		}
		handler.PodChanged(event)
	}
}

func (r *Runtime) next() (podruntime.Event, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.events) == 0 && !r.stopped {
		r.changed.Wait()
	}
	if r.stopped {
		return podruntime.Event{}, false
	}
	event := r.events[0]
	r.events = r.events[1:]
	return event, true
}

// Create makes a pod, which is ready soon unless pods are manual.
func (r *Runtime) Create(_ context.Context, spec podruntime.Spec) (podruntime.Pod, error) {
	r.mu.Lock()
	refuse := r.refuse
	r.mu.Unlock()
	if refuse != nil {
		if err := refuse(spec); err != nil {
			return podruntime.Pod{}, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.pods[spec.Key]; taken {
		return podruntime.Pod{}, fmt.Errorf("%w: %s", podruntime.ErrExists, spec.Key)
	}
	p := &Pod{Agent: newAgent(r.Behave), Pod: podruntime.Pod{
		Key:          spec.Key,
		UID:          types.UID(uuid.NewString()),
		Pool:         spec.Pool,
		PoolUID:      spec.PoolUID,
		TemplateHash: spec.TemplateHash,
		WorkDir:      spec.WorkDir,
		Phase:        podruntime.Starting,
		NodeName:     "here",
		CreatedAt:    r.clock.Now(),
	}}
	r.pods[spec.Key] = p
	r.created++
	r.most = max(r.most, len(r.pods))
	first := p.Pod
	r.tellLocked(podruntime.Event{Pod: first})
	if !r.manual {
		p.Phase = podruntime.Ready
		r.tellLocked(podruntime.Event{Pod: p.Pod})
	}
	return first, nil
}

// Check is content with every spec, unless Judge was called.
func (r *Runtime) Check(spec podruntime.Spec) (podruntime.Advice, error) {
	r.mu.Lock()
	check := r.check
	r.mu.Unlock()
	if check != nil {
		return check(spec)
	}
	return podruntime.Advice{}, nil
}

// LabelSandbox labels a pod.
func (r *Runtime) LabelSandbox(_ context.Context, key podruntime.Key, uid types.UID, sandbox string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempts++
	if r.label != nil {
		if err := r.label(sandbox); err != nil {
			return err
		}
	}
	if p, ok := r.pods[key]; !ok || p.UID != uid {
		return fmt.Errorf("%w: %s", podruntime.ErrNotFound, key)
	}
	r.labels[uid] = sandbox
	return nil
}

// Delete removes a pod.
func (r *Runtime) Delete(_ context.Context, key podruntime.Key, uid types.UID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.pods[key]
	if !ok || uid != "" && uid != p.UID {
		return fmt.Errorf("%w: %s", podruntime.ErrNotFound, key)
	}
	delete(r.pods, key)
	p.Agent.kill()
	r.tellLocked(podruntime.Event{Pod: p.Pod, Deleted: true})
	return nil
}

// Agent returns the client of a pod's agent.
func (r *Runtime) Agent(key podruntime.Key, uid types.UID) (*client.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.pods[key]
	if !ok || p.UID != uid || p.Phase != podruntime.Ready {
		return nil, fmt.Errorf("%w: %s is not ready", podruntime.ErrNotFound, key)
	}
	return p.Agent.client, nil
}

// Close ends all agents.
func (r *Runtime) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pods {
		p.Agent.kill()
	}
}
