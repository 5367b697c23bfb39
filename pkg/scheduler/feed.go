package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"k8s.io/client-go/tools/cache"
)

// feed is what tells the scheduler of the objects of one kind.
type feed struct {
	resource string
	// synced says that everything that was stored at the start has been told.
	synced cache.InformerSynced
	// trouble is why the last attempt to read failed; nil if none has.
	trouble atomic.Pointer[error]
}

// newFeed subscribes the handler to an informer that has not been started.
func newFeed(resource string, informer cache.SharedIndexInformer, handler cache.ResourceEventHandler) (*feed, error) {
	f := &feed{resource: resource}
	err := informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
		f.trouble.Store(&err)
		cache.DefaultWatchErrorHandler(ctx, r, err)
	})
	if err != nil {
		return nil, fmt.Errorf("hear of troubles with %s: %w", resource, err)
	}
	registration, err := informer.AddEventHandler(handler)
	if err != nil {
		return nil, fmt.Errorf("subscribe to changes of %s: %w", resource, err)
	}
	f.synced = registration.HasSynced
	return f, nil
}

// check returns why what was stored at the start is not known yet.
func (f *feed) check() error {
	if f.synced() {
		return nil
	}
	if trouble := f.trouble.Load(); trouble != nil {
		return fmt.Errorf("the scheduler cannot read the stored %s: %w", f.resource, *trouble)
	}
	return fmt.Errorf("the scheduler has not read the stored %s yet", f.resource)
}

// checkFeeds returns what is not known yet of all that was stored.
func (s *Scheduler) checkFeeds() error {
	var errs []error
	for _, f := range s.feeds {
		errs = append(errs, f.check())
	}
	return errors.Join(errs...)
}
