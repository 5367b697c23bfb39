package sandbox

import (
	"context"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// Allocator hands idle pods to sandboxes that are being created. The scheduler
// implements it. It is called on the goroutines of requests, many at a time,
// and must not wait for anything.
type Allocator interface {
	// Reserve takes an idle, ready pod of the sandbox's pool for it. It returns
	// a nil status if none is free or other sandboxes wait before it; done is
	// then not used. The sandbox is complete but for its status and its
	// resourceVersion; it must be neither changed nor kept.
	//
	// A status that is not nil is what the stored object will carry, and done
	// is called exactly once: with true if the object was written, with false
	// if it was not, which gives the pod back. If the storage fails in a way
	// that leaves open which of the two it was, done gets true: it is better to
	// lose one pod than to give it to two sandboxes.
	Reserve(ctx context.Context, sandbox *v1alpha1.Sandbox) (status *v1alpha1.SandboxStatus, done func(stored bool))
}
