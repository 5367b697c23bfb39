package sdk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/generated/clientset/versioned"
)

// startGrace is how long a pool may fail to start pods for a reason that may
// pass by itself, as a server that is started again makes some do. It is longer than a few
// attempts of the server take.
const startGrace = time.Minute

// Pools looks after the warm pools of a namespace. It is safe for concurrent use.
type Pools struct {
	namespace string
	link      link
	api       api
	grace     time.Duration
}

// NewPools returns the pools of a namespace; "default" if it is empty.
func NewPools(client versioned.Interface, namespace string) *Pools {
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	return poolsOf(namespace, link{DefaultReconnectTimeout}, newAPI(client, namespace))
}

func poolsOf(namespace string, l link, a api) *Pools {
	return &Pools{namespace: namespace, link: l, api: a, grace: startGrace}
}

// executorContainer is the one in which steps run.
const executorContainer = "executor"

// NewPool returns a pool that keeps so many pods of an image started and idle. It
// is not created yet: change in its spec what else there is to say.
func NewPool(name, image string, replicas int32) *v1alpha1.WarmPool {
	return &v1alpha1.WarmPool{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.WarmPoolSpec{
			Replicas: &replicas,
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: executorContainer, Image: image}},
			}},
		},
	}
}

// describe names a pool in errors.
func (p *Pools) describe(name string) string {
	return fmt.Sprintf("pool %q in namespace %q", name, p.namespace)
}

// Create creates a pool, and returns it as stored. If there is one of the name,
// the error is ErrConflict. The pool has no pods yet: see WaitReady.
func (p *Pools) Create(ctx context.Context, pool *v1alpha1.WarmPool) (*v1alpha1.WarmPool, error) {
	return create(ctx, p.link, p.api.pools, p.describe(pool.Name), pool)
}

// WaitReady returns a pool once as many of its pods as wanted are idle and
// ready, all of them made from its present template: its conditions Filled and
// Updated are True. If they cannot be started, it returns a *PoolFailedError with the
// reason: at once if the image cannot be had or the template cannot work, after
// a minute if the reason may pass by itself. A pod that only waits for room is
// waited for. If there is no such pool, the error is a *PoolNotFoundError. When
// ctx ends, the error says how far the pool had come.
func (p *Pools) WaitReady(ctx context.Context, name string) (*v1alpha1.WarmPool, error) {
	var last *v1alpha1.WarmPool
	err := p.watch(ctx, name, func(pool *v1alpha1.WarmPool) (over bool, failure *PoolFailedError) {
		last = pool
		return isFilled(pool), poolFailure(pool)
	})
	switch {
	case err == nil:
		return last, nil
	case ctx.Err() != nil && last != nil:
		return nil, fmt.Errorf("%w: %s", err, progress(last))
	}
	return nil, err
}

// waitedFor are the conditions that a pool has all of when it is as its spec wants it.
var waitedFor = []string{v1alpha1.WarmPoolConditionFilled, v1alpha1.WarmPoolConditionUpdated}

// isFilled says whether all pods are there that are wanted, and all of the present template.
func isFilled(pool *v1alpha1.WarmPool) bool {
	return isTrue(pool, waitedFor[0]) && isTrue(pool, waitedFor[1])
}

func isTrue(pool *v1alpha1.WarmPool, kind string) bool {
	c := condition(pool, kind)
	return c != nil && c.Status == metav1.ConditionTrue
}

// progress says how far a pool has come.
func progress(pool *v1alpha1.WarmPool) string {
	if c := condition(pool, v1alpha1.WarmPoolConditionReplicaFailure); c != nil && c.Status == metav1.ConditionTrue {
		return c.Reason + ": " + c.Message
	}
	for _, kind := range append(slices.Clone(waitedFor), v1alpha1.WarmPoolConditionReady) {
		if c := condition(pool, kind); c != nil && c.Status == metav1.ConditionFalse {
			return c.Reason + ": " + c.Message
		}
	}
	return "the server has not reported any progress yet"
}

// watch watches a pool until look says that the wait is over, or what keeps the
// pool from what is waited for and will not pass.
func (p *Pools) watch(ctx context.Context, name string, look func(*v1alpha1.WarmPool) (over bool, failure *PoolFailedError)) error {
	var pool *v1alpha1.WarmPool
	err := p.link.try(ctx, "read "+p.describe(name), func(ctx context.Context) (err error) {
		pool, err = p.api.pools.Get(ctx, name, metav1.GetOptions{})
		return err
	})
	if err == nil {
		err = p.observe(ctx, pool, look)
	}
	if apierrors.IsNotFound(err) || errors.Is(err, errGone) {
		return p.notFound(ctx, name)
	}
	return err
}

// observe is watch from a pool that was read. A failure that may pass has its
// grace, which begins anew when the pool has recovered meanwhile.
func (p *Pools) observe(ctx context.Context, pool *v1alpha1.WarmPool, look func(*v1alpha1.WarmPool) (bool, *PoolFailedError)) error {
	watching, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	var grace *time.Timer
	endGrace := func() {
		if grace != nil {
			grace.Stop()
			grace = nil
		}
	}
	defer endGrace()
	_, err := await(watching, p.link, p.api.pools, p.describe(pool.Name), pool, func(pool *v1alpha1.WarmPool) (bool, error) {
		over, failure := look(pool)
		switch {
		case over:
			return true, nil
		case failure == nil:
			endGrace()
		case lasts(failure.Reason):
			return false, failure
		case grace == nil:
			grace = time.AfterFunc(p.grace, func() { giveUp(failure) })
		}
		return false, nil
	})
	if failure := (*PoolFailedError)(nil); err != nil && ctx.Err() == nil && errors.As(context.Cause(watching), &failure) {
		return failure
	}
	return err
}

// notFound says that there is no pool of the name, and which ones there are.
func (p *Pools) notFound(ctx context.Context, name string) error {
	missing := &PoolNotFoundError{Namespace: p.namespace, Pool: name}
	pools, err := p.List(ctx)
	if ctx.Err() != nil {
		return err
	}
	// Without a list the error is worth as much.
	for i := range pools {
		missing.Available = append(missing.Available, pools[i].Name)
	}
	return missing
}

// List returns the pools of the namespace.
func (p *Pools) List(ctx context.Context) ([]v1alpha1.WarmPool, error) {
	var list *v1alpha1.WarmPoolList
	err := p.link.try(ctx, fmt.Sprintf("list the pools in namespace %q", p.namespace), func(ctx context.Context) (err error) {
		list, err = p.api.pools.List(ctx, metav1.ListOptions{})
		return err
	})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// Delete deletes a pool with its idle pods. Sessions go on until they are closed.
// That there is no such pool is no error.
func (p *Pools) Delete(ctx context.Context, name string) error {
	return p.link.try(ctx, "delete "+p.describe(name), func(ctx context.Context) error {
		err := p.api.pools.Delete(ctx, name, metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
}

// condition returns a condition that speaks of the pool's present spec, or nil.
func condition(pool *v1alpha1.WarmPool, kind string) *metav1.Condition {
	c := meta.FindStatusCondition(pool.Status.Conditions, kind)
	if c == nil || c.ObservedGeneration != pool.Generation {
		return nil
	}
	return c
}

// poolFailure says why pods of a pool cannot be started, or nil if nothing is
// known, or if they only wait for room or take the place of others.
func poolFailure(pool *v1alpha1.WarmPool) *PoolFailedError {
	failure := condition(pool, v1alpha1.WarmPoolConditionReplicaFailure)
	if failure == nil || failure.Status != metav1.ConditionTrue {
		return nil
	}
	switch failure.Reason {
	case "Unschedulable", "SchedulingGated", "Evicted", "Deleted", "NodeLost":
		return nil
	}
	return &PoolFailedError{Namespace: pool.Namespace, Pool: pool.Name, Reason: failure.Reason, Message: failure.Message}
}

// lasts says whether a reason does not pass before somebody changes something.
func lasts(reason string) bool { return reason == "ImagePullFailed" || reason == "InvalidTemplate" }
