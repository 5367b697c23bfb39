package execute

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

const (
	auditWorkers = 16
	auditTimeout = 5 * time.Second
	// auditInterval is the time between two looks at steps that are being stopped.
	auditInterval = 500 * time.Millisecond
	// auditLimit is how long such steps may take: the longest grace, and a margin.
	auditLimit = time.Hour + guardMargin
)

// audited is the state of a sandbox that was there when the server started. A task of it may have
// been deleted, or ended by hand, while the server was away, and its steps may run still. No task
// is started beside them: they are stopped first.
type audited struct {
	// sandbox is the one that is to be asked about, or empty.
	sandbox types.UID
	// deadline is when steps that were told to stop count as not accounted for; zero before that.
	deadline time.Time
}

// auditLocked has a sandbox asked for steps that no task accounts for.
func (e *Executor) auditLocked(b *box) {
	if b.sandbox == nil || b.sandbox.Status.Phase != v1alpha1.SandboxReady || b.sandbox.DeletionTimestamp != nil {
		return
	}
	b.audit = audited{sandbox: b.sandbox.UID}
	e.audits.Add(b.key)
}

// holds says whether the task has to wait until its sandbox was asked.
func (b *box) holds(t *entry) bool {
	return b.sandbox != nil && b.audit.sandbox == b.sandbox.UID && !t.begun
}

// audit asks the agent of a sandbox which steps run, and stops those that no task accounts for.
func (e *Executor) audit(ctx context.Context, key types.NamespacedName) error {
	e.mu.Lock()
	b, ok := e.boxes[key]
	if !ok || b.sandbox == nil || b.audit.sandbox != b.sandbox.UID || b.sandbox.Status.Phase != v1alpha1.SandboxReady {
		e.mu.Unlock()
		return nil
	}
	sandbox := b.sandbox
	e.mu.Unlock()

	pod := podOf(sandbox)
	agent, err := e.config.Runtime.Agent(pod.pod, pod.podUID)
	if err != nil {
		return fmt.Errorf("reach the agent of sandbox %s: %w", key, err)
	}
	ctx, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	health, err := agent.Health(ctx)
	if errors.Is(err, client.ErrProtocol) {
		e.mu.Lock()
		b.condemned = sandbox.UID
		e.mu.Unlock()
		e.abandonBroken(sandbox.UID, pod.pod.Name, err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("ask the agent of sandbox %s which steps run: %w", key, err)
	}
	orphans := e.orphans(health.Running)
	e.stopOrphans(ctx, agent, key, orphans)
	e.auditOver(b, sandbox, orphans)
	return nil
}

// orphans returns those of the executions that belong to no task.
func (e *Executor) orphans(running []string) (orphans []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range running {
		if !e.knownLocked(id) {
			orphans = append(orphans, id)
		}
	}
	return orphans
}

// knownLocked says whether an execution is the attempt that a task is at.
func (e *Executor) knownLocked(id string) bool {
	for at := len(id) - 1; at > 0; at-- {
		if id[at] == '-' {
			t, ok := e.tasks[types.UID(id[:at])]
			return ok && t.stage != ended && executionID(t) == id
		}
	}
	return false
}

// stopOrphans tells the agent to end executions. The request is repeated as long as they run.
func (e *Executor) stopOrphans(ctx context.Context, agent *client.Client, key types.NamespacedName, orphans []string) {
	for _, id := range orphans {
		klog.FromContext(ctx).Info("Stopping steps whose task is gone or has ended", "sandbox", key, "execution", id)
		request := wire.CancelRequest{Reason: wire.ReasonCancelled, Message: "the task of these steps is gone or has ended"}
		if err := agent.Cancel(ctx, id, request); err != nil {
			klog.FromContext(ctx).V(2).Info("Steps not told to stop, trying again", "sandbox", key, "execution", id, "err", err)
		}
	}
}

// auditOver lets tasks start in the sandbox if nothing runs that is not accounted for, and else
// looks again soon. A sandbox whose steps do not end fails.
func (e *Executor) auditOver(b *box, sandbox *v1alpha1.Sandbox, orphans []string) {
	now := e.config.Clock.Now()
	e.mu.Lock()
	if len(orphans) == 0 {
		b.audit = audited{}
		e.dispatchLocked(b)
		e.renewLocked(b)
		e.mu.Unlock()
		return
	}
	if b.audit.deadline.IsZero() {
		b.audit.deadline = now.Add(auditLimit)
	}
	late := !now.Before(b.audit.deadline)
	if late {
		b.condemned = sandbox.UID
	}
	e.mu.Unlock()
	if late {
		e.config.Abandon(sandbox.UID, v1alpha1.SandboxReasonExecutionUnaccounted, fmt.Sprintf(
			"%d executions of tasks that are gone did not end in the sandbox: they may run still, so no other task is started beside them; create another sandbox", len(orphans)))
		return
	}
	e.config.Timers.Set(auditKey{b.key}, now.Add(auditInterval), func() { e.audits.Add(b.key) })
}

// auditKey is the key of the timer of the next look at a sandbox.
type auditKey struct{ sandbox types.NamespacedName }
