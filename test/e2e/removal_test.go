package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"

	"arl.io/arl/test/e2e/cluster"
)

// left are the namespaces of tests that have ended, and the tests' names. The cluster takes
// some 5 s to remove one, which no test waits for but those that need a quiet cluster.
var left struct {
	mu         sync.Mutex
	namespaces map[string]string
}

// leaveNamespace deletes a namespace, unless that has been done.
func leaveNamespace(t *testing.T, admin kubernetes.Interface, namespace string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := admin.CoreV1().Namespaces().Delete(ctx, namespace, deleteNow)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		t.Errorf("delete namespace %s: %v", namespace, err)
	}
	left.mu.Lock()
	defer left.mu.Unlock()
	if left.namespaces == nil {
		left.namespaces = map[string]string{}
	}
	left.namespaces[namespace] = t.Name()
}

// quiet waits until nothing is left of the tests that have ended.
func quiet(t *testing.T) {
	t.Helper()
	if err := awaitLeft(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// awaitLeft waits until all namespaces of tests that have ended are gone.
func awaitLeft(ctx context.Context) error {
	admin, err := shared.Client(cluster.Admin)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, removal)
	defer cancel()
	left.mu.Lock()
	defer left.mu.Unlock()
	var errs []error
	for namespace, test := range left.namespaces {
		if err := awaitNoNamespace(ctx, admin, namespace); err != nil {
			errs = append(errs, fmt.Errorf("namespace %s of %s: %w", namespace, test, err))
		}
	}
	clear(left.namespaces)
	return errors.Join(errs...)
}

// awaitNoNamespace waits until a namespace that was deleted is gone. The error
// says what is left in it.
func awaitNoNamespace(ctx context.Context, admin kubernetes.Interface, name string) error {
	var last *corev1.Namespace
	err := until(ctx, func(ctx context.Context) error {
		namespace, err := admin.CoreV1().Namespaces().Get(ctx, name, getNow)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil {
			last, err = namespace, fmt.Errorf("namespace %s is there", name)
		}
		return err
	})
	if err != nil && last != nil {
		err = fmt.Errorf("%w: %+v", err, last.Status.Conditions)
	}
	return err
}
