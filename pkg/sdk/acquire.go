package sdk

import (
	"context"
	"errors"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// acquire waits until the session's sandbox is ready. When a pod was idle that
// was so in the answer to the create, and nothing is asked. Otherwise the
// pool is watched, too, because it says whether there is anything to wait for.
func (s *Session) acquire(ctx context.Context) error {
	if ready, err := s.isReady(s.sandbox); ready || err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var group sync.WaitGroup
	var hopeless error
	group.Go(func() {
		if hopeless = s.watchPool(watching); hopeless != nil {
			stop()
		}
	})
	last, err := await(watching, s.link, s.api.sandboxes, s.describe(s.sandbox.Name), s.sandbox, s.isReady)
	stop()
	group.Wait()
	switch {
	case err == nil:
		s.sandbox = last
		return nil
	case errors.Is(err, errGone):
		return s.failed("Deleted", "somebody deleted it while it waited for a pod", nil)
	case ctx.Err() != nil && last.Status.Message != "":
		return fmt.Errorf("%w: %s", err, last.Status.Message)
	case ctx.Err() == nil && hopeless != nil:
		return hopeless
	}
	return err
}

// isReady says whether steps can run in a sandbox, or why they never will.
func (s *Session) isReady(sandbox *v1alpha1.Sandbox) (bool, error) {
	status := &sandbox.Status
	switch {
	case status.Phase == v1alpha1.SandboxReady:
		return true, nil
	case status.Phase == v1alpha1.SandboxFailed:
		return false, s.failed(status.Reason, status.Message, nil)
	}
	return false, nil
}

func (s *Session) failed(reason, message string, result *Result) error {
	return &SandboxFailedError{
		Namespace: s.settings.namespace, Sandbox: s.sandbox.Name,
		Reason: reason, Message: message, Result: result,
	}
}

// watchPool returns an error as soon as the session's pool will not come to have
// a free pod by itself. It returns nil when ctx ends, or if the pool may not be
// looked at: then the sandbox alone has to tell.
func (s *Session) watchPool(ctx context.Context) error {
	pools := poolsOf(s.settings.namespace, s.link, s.api)
	err := pools.watch(ctx, s.sandbox.Spec.PoolRef, func(pool *v1alpha1.WarmPool) (bool, *PoolFailedError) {
		if pool.Status.ReadyReplicas > 0 || pool.Status.AllocatedReplicas > 0 {
			// A pod is free, or may become so.
			return false, nil
		}
		return false, poolFailure(pool)
	})
	if ctx.Err() != nil || apierrors.IsForbidden(err) {
		return nil
	}
	return err
}
