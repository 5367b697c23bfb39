package bind

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler/plan"
)

const (
	// labelWorkers is how many pods are labelled at the same time: few, because
	// nothing waits for a label, and pods are created through the same client.
	labelWorkers = 4
	// labelTimeout bounds one attempt.
	labelTimeout = 30 * time.Second
	// Waits between the attempts. What keeps a label from being set for long,
	// such as a missing permission, concerns every sandbox of the server.
	firstLabelWait = time.Second
	maxLabelWait   = 5 * time.Minute
)

// labelling is the pod that is to be labelled for a sandbox, and how often that has failed.
type labelling struct {
	pod      types.UID
	failures int
}

// planLabel has the pod of a sandbox labelled, once, if the pool wants that.
func (b *Binder) planLabel(sandbox *v1alpha1.Sandbox, pool *v1alpha1.WarmPool) {
	if !wantsLabel(pool) {
		return
	}
	key := keyOf(sandbox)
	b.mu.Lock()
	begun := b.labelled[key].pod == sandbox.Status.PodUID
	if !begun {
		b.labelled[key] = labelling{pod: sandbox.Status.PodUID}
	}
	b.mu.Unlock()
	if !begun {
		b.labels.Add(key)
	}
}

func wantsLabel(pool *v1alpha1.WarmPool) bool {
	return pool != nil && pool.Spec.SandboxLabel == v1alpha1.SandboxLabelName
}

// label labels the pod of a sandbox. An attempt that fails is made again, and
// has no other consequence.
func (b *Binder) label(ctx context.Context, key types.NamespacedName) error {
	sandbox, err := b.config.Sandboxes.Sandboxes(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up sandbox %s: %w", key, err)
	}
	if sandbox.Status.Phase != v1alpha1.SandboxReady {
		return nil
	}
	if !wantsLabel(b.pool(sandbox)) {
		// Nobody wants it any more; who does later, begins anew.
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.labelled, key)
		return nil
	}
	attempt, cancel := context.WithTimeout(ctx, labelTimeout)
	defer cancel()
	pod := podruntime.Key{Namespace: sandbox.Namespace, Name: sandbox.Status.PodName}
	err = b.config.Pods.LabelSandbox(attempt, pod, sandbox.Status.PodUID, sandbox.Name)
	if err == nil || errors.Is(err, podruntime.ErrNotFound) || ctx.Err() != nil {
		return nil
	}
	wait, again := b.labelFailed(key, sandbox.Status.PodUID)
	if again {
		klog.FromContext(ctx).Error(err, "The label that names its sandbox was not set on a pod and will be tried again", "sandbox", key, "after", wait)
		b.config.Timers.After(timerKey{key, timeLabel}, wait, func() { b.labels.Add(key) })
	}
	return nil
}

// labelFailed notes a failure and returns how long to wait, unless the sandbox
// is gone or has another pod by now.
func (b *Binder) labelFailed(key types.NamespacedName, pod types.UID) (wait time.Duration, again bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, ok := b.labelled[key]
	if !ok || l.pod != pod {
		return 0, false
	}
	l.failures++
	b.labelled[key] = l
	return plan.Backoff(l.failures, firstLabelWait, maxLabelWait), true
}
