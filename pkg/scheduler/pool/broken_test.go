package pool_test

import (
	"errors"
	"testing"

	"arl.io/arl/pkg/scheduler/schedulertest"
)

// TestAnIdlePodWithABrokenAgentIsLetGo has the agent of an idle pod break the protocol while the server
// is away. The next one asks whether the pod was used, and replaces it.
func TestAnIdlePodWithABrokenAgentIsLetGo(t *testing.T) {
	h := schedulertest.New(t).Start()
	h.CreatePool(schedulertest.Pool("pool", 1))
	h.WaitIdle("pool", 1)
	pod := h.Runtime.Pods()[0]
	h.Stop()
	pod.Agent.Break()
	h.Start()
	h.Eventually("the pod is gone", func() error {
		if h.Runtime.Pod(pod.Name) != nil {
			return errors.New("it is there")
		}
		return nil
	})
	h.WaitIdle("pool", 1)
}
