package sdk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// object is a WarmPool, Sandbox or Task.
type object interface {
	runtime.Object
	metav1.Object
}

// resource is what this package needs of the generated client of a kind.
type resource[T object] interface {
	Create(ctx context.Context, obj T, opts metav1.CreateOptions) (T, error)
	Get(ctx context.Context, name string, opts metav1.GetOptions) (T, error)
	Watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
	Delete(ctx context.Context, name string, opts metav1.DeleteOptions) error
}

// markAnnotation tells an object that this call made, and did not hear of,
// from one that somebody else made under the same name.
const markAnnotation = "sdk.arl.io/mark"

// suffixLength random characters of 32 are 80 bits: names do not collide.
const suffixLength = 16

// uniqueName is a name that nobody else has, a DNS label that begins with as
// much of the prefix as there is room for.
func uniqueName(prefix string) string {
	const maxLabel = 63
	prefix = prefix[:min(len(prefix), maxLabel-suffixLength-1)]
	return prefix + "-" + strings.ToLower(rand.Text()[:suffixLength])
}

// create creates an object, once, however often the request has to be made. If
// somebody else has made one of the name, the error is ErrConflict.
func create[T object](ctx context.Context, l link, client resource[T], what string, obj T) (stored T, err error) {
	mark := rand.Text()
	annotations := map[string]string{markAnnotation: mark}
	for key, value := range obj.GetAnnotations() {
		annotations[key] = value
	}
	obj = obj.DeepCopyObject().(T)
	obj.SetAnnotations(annotations)
	err = l.try(ctx, "create "+what, func(ctx context.Context) (err error) {
		stored, err = client.Create(ctx, obj, metav1.CreateOptions{})
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		if stored, err = client.Get(ctx, obj.GetName(), metav1.GetOptions{}); err != nil {
			return err
		}
		if stored.GetAnnotations()[markAnnotation] != mark {
			return fmt.Errorf("%w: somebody else has created it: choose another name, or delete that one first", ErrConflict)
		}
		return nil
	})
	if status := apierrors.APIStatus(nil); err != nil && !errors.Is(err, ErrConflict) && !errors.As(err, &status) {
		// There was no answer to the last attempt: it may have been made.
		return stored, withCleanup(err, abandon(context.WithoutCancel(ctx), client, what, obj.GetName(), mark))
	}
	return stored, err
}

// cleanup is for what is left to do after a call has failed, or its context has
// ended. Callers wait for it, so it does not try for long; what it leaves behind,
// idle timeouts end.
var cleanup = link{patience: 2 * time.Second}

// abandon deletes an object with a mark, if there is one.
func abandon[T object](ctx context.Context, client resource[T], what, name, mark string) error {
	return cleanup.try(ctx, fmt.Sprintf("delete %s if it was created all the same", what), func(ctx context.Context) error {
		found, err := client.Get(ctx, name, metav1.GetOptions{})
		if err == nil && found.GetAnnotations()[markAnnotation] == mark {
			uid := found.GetUID()
			err = client.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
		}
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
}

// withCleanup adds to an error what could not be cleaned up after it.
func withCleanup(err, left error) error {
	if left == nil {
		return err
	}
	return fmt.Errorf("%w (and then: %w)", err, left)
}

// remove deletes an object unless it is gone, or another one has its name.
func remove[T object](ctx context.Context, l link, client resource[T], what string, obj T) error {
	uid := obj.GetUID()
	return l.try(ctx, "delete "+what, func(ctx context.Context) error {
		err := client.Delete(ctx, obj.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return nil
		}
		return err
	})
}
