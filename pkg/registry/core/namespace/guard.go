package namespace

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/pkg/registry/kind"
)

// Guard lets objects be created in namespaces that exist and are not being
// deleted. The check and the write are one step: a namespace that begins to
// terminate waits for creates under way, and every later one sees it.
type Guard struct {
	namespaces *REST
	// create says that a missing namespace is created, not an error.
	create bool
}

var _ kind.NamespaceGuard = (*Guard)(nil)

// NewGuard returns a guard. If create is set, a namespace that does not exist is
// created together with the first object in it.
func NewGuard(namespaces *REST, create bool) *Guard {
	return &Guard{namespaces: namespaces, create: create}
}

// Enter returns when an object may be written to the namespace, until leave. If
// there is no such namespace, returns NotFound; if it is being deleted, Forbidden
// with the cause that Kubernetes' clients look for.
func (g *Guard) Enter(ctx context.Context, namespace string, dryRun bool) (leave func(), err error) {
	leave, err = g.enter(ctx, namespace)
	if !apierrors.IsNotFound(err) {
		return leave, err
	}
	switch {
	case !g.create:
		return nil, notFound(namespace)
	case dryRun:
		return func() {}, nil
	}
	if err := g.namespaces.Ensure(ctx, namespace); err != nil {
		return nil, err
	}
	return g.enter(ctx, namespace)
}

func (g *Guard) enter(ctx context.Context, namespace string) (leave func(), err error) {
	lock := &g.namespaces.creating
	lock.RLock()
	obj, err := g.namespaces.store.Get(ctx, namespace, &metav1.GetOptions{})
	if err != nil {
		lock.RUnlock()
		return nil, err
	}
	if ns, ok := obj.(*corev1.Namespace); !ok || terminating(ns) {
		lock.RUnlock()
		return nil, ending(namespace)
	}
	return lock.RUnlock, nil
}

func notFound(namespace string) error {
	err := apierrors.NewNotFound(resource, namespace)
	err.ErrStatus.Message += fmt.Sprintf(": create it with 'kubectl create namespace %s', or start the server with --create-namespaces", namespace)
	return err
}

func ending(namespace string) error {
	message := fmt.Sprintf("namespace %s is being terminated", namespace)
	err := apierrors.NewForbidden(resource, namespace,
		fmt.Errorf("unable to create new content in namespace %s because it is being terminated", namespace))
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type: corev1.NamespaceTerminatingCause, Message: message, Field: "metadata.namespace",
	})
	return err
}
