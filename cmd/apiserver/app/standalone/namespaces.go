package standalone

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/apiserver"
	"arl.io/arl/pkg/generated/clientset/versioned"
)

// Pauses between two looks at namespaces that are not empty yet.
const (
	firstEmptyPause = 50 * time.Millisecond
	lastEmptyPause  = 5 * time.Second
)

// collection is one kind of objects that a namespace is emptied of.
type collection struct {
	name   string
	delete func(ctx context.Context, namespace string) error
	// list returns a list of one object at most.
	list func(ctx context.Context, namespace string) (runtime.Object, error)
}

// emptier deletes what is in namespaces that are being deleted, and then the
// namespaces. It also sees that the namespaces exist that always do.
type emptier struct {
	core        *apiserver.Core
	clock       clock.WithTicker
	collections []collection
	// ensured says that no namespace is missing that has to exist.
	ensured bool
}

func newEmptier(core *apiserver.Core, self *rest.Config, clk clock.WithTicker) (*emptier, error) {
	client, err := versioned.NewForConfig(self)
	if err != nil {
		return nil, fmt.Errorf("make the client that empties namespaces: %w", err)
	}
	api, all, one := client.ArlV1alpha1(), metav1.ListOptions{}, metav1.ListOptions{Limit: 1}
	return &emptier{core: core, clock: clk, collections: []collection{
		// Tasks go before the sandboxes that they run in, and those before their pools.
		{"tasks.arl.io", func(ctx context.Context, ns string) error {
			return api.Tasks(ns).DeleteCollection(ctx, metav1.DeleteOptions{}, all)
		}, func(ctx context.Context, ns string) (runtime.Object, error) { return api.Tasks(ns).List(ctx, one) }},
		{"sandboxes.arl.io", func(ctx context.Context, ns string) error {
			return api.Sandboxes(ns).DeleteCollection(ctx, metav1.DeleteOptions{}, all)
		}, func(ctx context.Context, ns string) (runtime.Object, error) { return api.Sandboxes(ns).List(ctx, one) }},
		{"warmpools.arl.io", func(ctx context.Context, ns string) error {
			return api.WarmPools(ns).DeleteCollection(ctx, metav1.DeleteOptions{}, all)
		}, func(ctx context.Context, ns string) (runtime.Object, error) { return api.WarmPools(ns).List(ctx, one) }},
	}}, nil
}

// run empties namespaces until ctx ends.
func (e *emptier) run(ctx context.Context) {
	pause := firstEmptyPause
	for {
		e.ensure(ctx)
		remaining, err := e.pass(ctx)
		if err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Namespaces that are being deleted cannot be emptied yet")
		}
		var again <-chan time.Time
		if remaining || err != nil || !e.ensured {
			again = e.clock.After(pause)
			pause = min(2*pause, lastEmptyPause)
		} else {
			pause = firstEmptyPause
		}
		select {
		case <-ctx.Done():
			return
		case <-e.core.Namespaces.Begun():
			pause = firstEmptyPause
		case <-again:
		}
	}
}

// ensure creates the namespaces that have to exist, and logs what it cannot.
func (e *emptier) ensure(ctx context.Context) {
	if e.ensured {
		return
	}
	err := e.core.EnsureNamespaces(ctx)
	if e.ensured = err == nil; !e.ensured && ctx.Err() == nil {
		klog.FromContext(ctx).Error(err, "Namespaces that should exist cannot be created yet")
	}
}

// pass takes each namespace a step further, and says whether there is more to do.
func (e *emptier) pass(ctx context.Context) (remaining bool, err error) {
	ending, err := e.core.Namespaces.Terminating(ctx)
	if err != nil {
		return true, err
	}
	var errs []error
	for i := range ending {
		ns := &ending[i]
		if len(ns.Spec.Finalizers) == 0 {
			continue // empty; finalizers of users keep it
		}
		left, err := e.empty(ctx, ns)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("empty namespace %s: %w", ns.Name, err))
		case left != "":
			remaining = true
			errs = append(errs, e.core.Namespaces.Remaining(ctx, ns, left))
		default:
			errs = append(errs, e.core.Namespaces.Finish(ctx, ns))
		}
	}
	return remaining, errors.Join(errs...)
}

// empty deletes what is in a namespace, and says what is left.
func (e *emptier) empty(ctx context.Context, ns *corev1.Namespace) (left string, err error) {
	var names []string
	for _, c := range e.collections {
		if err := c.delete(ctx, ns.Name); err != nil {
			return "", fmt.Errorf("delete %s: %w", c.name, err)
		}
		list, err := c.list(ctx, ns.Name)
		if err != nil {
			return "", fmt.Errorf("list %s: %w", c.name, err)
		}
		if meta.LenList(list) > 0 {
			names = append(names, c.name)
		}
	}
	if pods, _ := e.core.Pods.List(ns.Name); len(pods) > 0 {
		names = append(names, "pods")
	}
	if len(names) == 0 {
		return "", nil
	}
	return "Some resources are remaining: " + strings.Join(names, ", "), nil
}
