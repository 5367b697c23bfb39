package bolt

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"arl.io/arl/pkg/storage/kv"
)

// convert returns what the client is to see of a write; nil for nothing. For a
// watch with a selector, a write that makes an object selected adds it, and one
// that makes it unselected deletes it.
func (w *watcher) convert(ctx context.Context, e kv.Event) (*watch.Event, error) {
	var cur, old runtime.Object
	var err error
	if !e.Delete {
		if cur, err = w.decode(ctx, memoKey{e.Key, e.Rev}, e.Value); err != nil {
			return nil, err
		}
	}
	// An unselective watch needs the object before only to show it as deleted.
	if e.PrevRev != 0 && (e.Delete || !w.all) {
		if old, err = w.decode(ctx, memoKey{e.Key, e.PrevRev}, e.PrevValue); err != nil {
			return nil, previousError(e, err)
		}
	}
	isSelected := cur != nil && w.selects(cur)
	wasSelected := e.PrevRev != 0 && (old == nil || w.selects(old))
	switch {
	case isSelected && wasSelected:
		return w.event(watch.Modified, cur, e.Rev)
	case isSelected:
		return w.event(watch.Added, cur, e.Rev)
	case wasSelected:
		return w.event(watch.Deleted, old, e.Rev)
	}
	return nil, nil
}

// event returns an event with a copy of obj, which is shared, at rev: an object
// that is deleted has the revision of its deletion.
func (w *watcher) event(t watch.EventType, obj runtime.Object, rev int64) (*watch.Event, error) {
	obj = obj.DeepCopyObject()
	if err := w.store.codec.setRevision(obj, rev); err != nil {
		return nil, err
	}
	return &watch.Event{Type: t, Object: obj}, nil
}

// decode returns the object of a stored value. It is shared.
func (w *watcher) decode(ctx context.Context, k memoKey, raw []byte) (runtime.Object, error) {
	data, _, err := w.store.codec.open(ctx, k.key, raw)
	if err != nil {
		return nil, err
	}
	obj, err := w.store.recent.decode(k, data, w.store.codec.decode)
	if err != nil {
		return nil, &corruptError{problem: undecodable, rev: k.rev, err: err}
	}
	return obj, nil
}

// selects reports whether the client wants to see obj. One whose attributes
// cannot be had is not selected, as in a list.
func (w *watcher) selects(obj runtime.Object) bool {
	if w.all {
		return true
	}
	selected, err := w.pred.Matches(obj)
	return err == nil && selected
}

// deletedCorruptError says that a corrupt object was deleted: the client cannot
// be shown which, and must list again.
type deletedCorruptError struct{ err error }

func (e *deletedCorruptError) Error() string {
	return fmt.Sprintf("saw a DELETED event, but object data is corrupt - %v", e.err)
}

func (e *deletedCorruptError) Unwrap() error { return e.err }

// previousError returns the error of a write whose previous object cannot be
// read.
func previousError(e kv.Event, err error) error {
	var corrupt *corruptError
	if e.Delete && errors.As(err, &corrupt) {
		return &deletedCorruptError{err: corrupt}
	}
	return err
}

// errorEvent returns the event that tells a client why its watch ends.
func errorEvent(err error) watch.Event {
	var deleted *deletedCorruptError
	switch {
	case errors.Is(err, kv.ErrCompacted):
		err = apierrors.NewResourceExpired(watchExpired)
	case errors.As(err, &deleted):
		err = statusError(http.StatusInternalServerError, metav1.StatusReasonStoreReadError, deleted.Error())
	default:
		err = apiError(err)
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		status = apierrors.NewInternalError(err)
	}
	s := status.Status()
	return watch.Event{Type: watch.Error, Object: &s}
}
