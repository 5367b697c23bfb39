package sdk

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/generated/clientset/versioned"
)

// closePatience is how long Close tries, which has no context. What it could not
// delete, the server does after the idle timeout.
const closePatience = 30 * time.Second

// Session is a sandbox, in which steps find what those before them have left. It is safe for
// concurrent use: calls run at the same time, and each returns when its own steps have ended. It
// must be closed.
type Session struct {
	settings settings
	link     link
	api      api
	sandbox  *v1alpha1.Sandbox

	mu     sync.Mutex
	closed bool
	// gone is set when the sandbox is known to be deleted.
	gone bool
	// used is when the sandbox was last known to be in use, by the server's clock.
	used time.Time
}

// NewSession makes a sandbox from the named pool, and returns when steps can run
// in it: at once if a pod of the pool is idle, otherwise when one is ready.
// How long that may take is up to ctx, which the session does not keep.
//
// If there is no such pool, the error is a *PoolNotFoundError; if the pool cannot
// start pods, a *PoolFailedError with the reason; if the server gives up on the
// sandbox, a *SandboxFailedError. After an error nothing is left behind.
func NewSession(ctx context.Context, client versioned.Interface, pool string, opts ...Option) (*Session, error) {
	set := newSettings(opts)
	name := set.name
	if name == "" {
		name = uniqueName(pool)
	}
	s := &Session{settings: set, link: link{set.reconnect}, api: newAPI(client, set.namespace)}
	sandbox := &v1alpha1.Sandbox{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.SandboxSpec{
			PoolRef: pool, KeepAlive: set.keepAlive, Env: set.env,
			MaxConcurrentTasks: ptr.To(int32(max(math.MinInt32, min(set.concurrent, math.MaxInt32)))),
		},
	}
	if set.idleTimeout != 0 {
		sandbox.Spec.IdleTimeoutSeconds = ptr.To(seconds(set.idleTimeout))
	}
	var err error
	if s.sandbox, err = create(ctx, s.link, s.api.sandboxes, s.describe(name), sandbox); err != nil {
		return nil, err
	}
	if err := s.acquire(ctx); err != nil {
		return nil, withCleanup(err, s.close(cleanup))
	}
	return s, nil
}

// describe names a sandbox in errors.
func (s *Session) describe(name string) string {
	return fmt.Sprintf("sandbox %q in namespace %q", name, s.settings.namespace)
}

// Name is the name of the session's Sandbox object.
func (s *Session) Name() string { return s.sandbox.Name }

// Sandbox returns the session's Sandbox object as it was when it became ready:
// its status names the pod and the work directory.
func (s *Session) Sandbox() *v1alpha1.Sandbox { return s.sandbox.DeepCopy() }

// Close deletes the sandbox, and all that was written in it. What runs in it is
// stopped, and its Execute returns ErrClosed; later ones return it at once. An
// error says that the sandbox may be left: the server deletes it when its idle timeout
// is over, and another Close tries again. Otherwise further calls do nothing.
func (s *Session) Close() error {
	return s.close(link{patience: min(s.link.patience, closePatience)})
}

func (s *Session) close(l link) error {
	s.mu.Lock()
	s.closed = true
	gone := s.gone
	s.mu.Unlock()
	if gone {
		return nil
	}
	if err := remove(context.Background(), l, s.api.sandboxes, s.describe(s.sandbox.Name), s.sandbox); err != nil {
		return fmt.Errorf("close the session: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	return nil
}

func (s *Session) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}
