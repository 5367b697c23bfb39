package sdk

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	watchtools "k8s.io/client-go/tools/watch"
)

var (
	// errGone is what await returns for an object that was deleted.
	errGone = errors.New("it was deleted")
	// errWatchEnded ends a watch that can tell no more: it is too old, or its
	// server stops.
	errWatchEnded = errors.New("the watch has ended")
)

// await watches an object until done says so or returns an error, and returns
// the object as last seen, with that error. The object given is as stored at
// some time. If it is deleted, or another one has its name, the error is errGone.
//
// Only the latest state matters, so that a watch which ends for whatever reason
// needs no history: the object is read, and watched from there.
func await[T object](ctx context.Context, l link, client resource[T], what string, current T, done func(T) (bool, error)) (T, error) {
	if over, err := done(current); over || err != nil {
		return current, err
	}
	pause := pauses.DelayFunc()
	for {
		f := follower[T]{current: current, done: done}
		over, err := f.follow(ctx, client)
		current = f.current
		switch {
		case over:
			return current, err
		case ctx.Err() != nil:
			return current, interrupted(ctx, "wait for "+what)
		case !again(err) && !expired(err) && !apierrors.IsUnauthorized(err):
			return current, fmt.Errorf("watch %s: %w", what, err)
		case f.told:
			pause = pauses.DelayFunc()
		default:
			// A watch that tells nothing may be one that never will.
			if !sleep(ctx, pause()) {
				return current, interrupted(ctx, "wait for "+what)
			}
		}
		latest, err := read(ctx, l, client, what, current)
		if err != nil {
			return current, err
		}
		current = latest
		if over, err := done(current); over || err != nil {
			return current, err
		}
	}
}

// follower watches an object once.
type follower[T object] struct {
	current T
	done    func(T) (bool, error)
	// told is set when the watch told anything at all.
	told bool
}

// follow returns true, and the error that await is to return, once there is no
// more to wait for. Otherwise the error is the one that ended the watch.
func (f *follower[T]) follow(ctx context.Context, client resource[T]) (over bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := client.Watch(ctx, metav1.ListOptions{
		FieldSelector:       fields.OneTermEqualSelector(metav1.ObjectNameField, f.current.GetName()).String(),
		ResourceVersion:     f.current.GetResourceVersion(),
		AllowWatchBookmarks: true,
	})
	if err != nil {
		return false, err
	}
	var verdict error
	_, err = watchtools.UntilWithoutRetry(ctx, events, func(event watch.Event) (bool, error) {
		if event.Type == watch.Error {
			return false, errWatchEnded
		}
		f.told = true
		over, verdict = f.take(event)
		return over, nil
	})
	if over {
		return true, verdict
	}
	return false, err
}

// take takes in an event.
func (f *follower[T]) take(event watch.Event) (over bool, verdict error) {
	next, ok := event.Object.(T)
	if event.Type == watch.Bookmark || !ok || next.GetName() != f.current.GetName() {
		return false, nil
	}
	if event.Type == watch.Deleted || next.GetUID() != f.current.GetUID() {
		return true, errGone
	}
	f.current = next
	over, verdict = f.done(next)
	return over || verdict != nil, verdict
}

// read reads an object again. If it is gone, the error is errGone.
func read[T object](ctx context.Context, l link, client resource[T], what string, known T) (latest T, err error) {
	err = l.try(ctx, "read "+what, func(ctx context.Context) (err error) {
		latest, err = client.Get(ctx, known.GetName(), metav1.GetOptions{})
		return err
	})
	if apierrors.IsNotFound(err) || err == nil && latest.GetUID() != known.GetUID() {
		return latest, errGone
	}
	return latest, err
}

// expired says that a watch began before what the server remembers.
func expired(err error) bool { return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) }
