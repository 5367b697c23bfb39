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
	var cur *sharedObject
	var err error
	isSelected := false
	if !e.Delete {
		if cur, err = w.object(ctx, memoKey{key: e.Key, rev: e.Rev}, e.Current()); err != nil {
			return nil, err
		}
		isSelected = w.selects(cur.obj)
	}
	wasSelected, err := w.wasSelected(ctx, e)
	switch {
	case err != nil:
		return nil, err
	case isSelected && wasSelected:
		return &watch.Event{Type: watch.Modified, Object: cur}, nil
	case isSelected:
		return &watch.Event{Type: watch.Added, Object: cur}, nil
	case wasSelected:
		last, err := w.object(ctx, memoKey{key: e.Key, rev: e.Rev, last: true}, e.Previous())
		if err != nil {
			return nil, previousError(e, err)
		}
		return &watch.Event{Type: watch.Deleted, Object: last}, nil
	}
	return nil, nil
}

// wasSelected reports whether the client has been shown what the write replaced.
func (w *watcher) wasSelected(ctx context.Context, e kv.Event) (bool, error) {
	if e.PrevRev == 0 || w.all {
		return e.PrevRev != 0, nil
	}
	old, err := w.object(ctx, memoKey{key: e.Key, rev: e.PrevRev}, e.Previous())
	if err != nil {
		return false, previousError(e, err)
	}
	return w.selects(old.obj), nil
}

// object returns the object of an entry, which is that of k.
func (w *watcher) object(ctx context.Context, k memoKey, entry kv.Entry) (*sharedObject, error) {
	read := func() (*sharedObject, error) {
		raw, err := entry.Load()
		if err != nil {
			return nil, err
		}
		codec := &w.store.codec
		data, _, err := codec.open(ctx, k.key, raw)
		if err != nil {
			return nil, err
		}
		obj, err := codec.decode(data)
		if err != nil {
			return nil, &corruptError{problem: undecodable, rev: k.rev, err: err}
		}
		if err := codec.setRevision(obj, k.rev); err != nil {
			return nil, err
		}
		return newSharedObject(obj), nil
	}
	if entry.IsLarge() {
		return w.store.recent.large(k, read)
	}
	return w.store.recent.object(k, entry.Value, read)
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
