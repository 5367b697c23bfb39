package pool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/podruntime"
)

const (
	// reapWorkers is how many pods are deleted at the same time.
	reapWorkers = 8
	// proveWorkers is how many agents are asked at the same time.
	proveWorkers = 8
	// proveTimeout bounds one question to an agent.
	proveTimeout = 5 * time.Second
)

// podID names a pod.
type podID struct {
	podruntime.Key
	uid types.UID
}

// Delete asks for the deletion of a pod. It never blocks. The UID is empty if
// it is not known yet.
func (f *Filler) Delete(key podruntime.Key, uid types.UID) { f.unwanted.Add(podID{key, uid}) }

// Prove asks to find out whether a pod was used by a sandbox, and to tell the
// ledger. It never blocks.
func (f *Filler) Prove(key podruntime.Key, uid types.UID) { f.unproven.Add(podID{key, uid}) }

// reap deletes a pod, once the steps that run in it have had their grace.
func (f *Filler) reap(ctx context.Context, pod podID) error {
	if pod.uid != "" && f.config.Hold(pod.uid, func() { f.unwanted.Add(pod) }) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := f.config.Runtime.Delete(ctx, pod.Key, pod.uid)
	if errors.Is(err, podruntime.ErrNotFound) {
		f.config.Ledger.Gone(pod.Key, pod.uid)
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete pod: %w", err)
	}
	return nil
}

// prove asks a pod's agent whether anything ever ran in it. A pod that is gone
// meanwhile is not asked about again.
func (f *Filler) prove(ctx context.Context, pod podID) error {
	agent, err := f.config.Runtime.Agent(pod.Key, pod.uid)
	if errors.Is(err, podruntime.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reach the agent: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, proveTimeout)
	defer cancel()
	health, err := agent.Health(ctx)
	if errors.Is(err, client.ErrProtocol) {
		// Something in the pod has taken its agent over: no sandbox gets it.
		health.Used, err = true, nil
	}
	if err != nil {
		return fmt.Errorf("ask the agent whether the pod was used: %w", err)
	}
	f.config.Ledger.Prove(pod.Key, pod.uid, health.Used)
	return nil
}
