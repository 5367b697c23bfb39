package sdk

import (
	"maps"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// DefaultIdleTimeout is longer than a model thinks between two commands, and
	// short enough for a program that was killed not to be missed.
	DefaultIdleTimeout = 10 * time.Minute
	// DefaultTimeout bounds the steps of one Execute.
	DefaultTimeout = 5 * time.Minute
	// DefaultReconnectTimeout is longer than a server takes to be started again,
	// on another node if need be, and shorter than finished tasks are kept: a
	// task that was created unnoticed is found again.
	DefaultReconnectTimeout = 2 * time.Minute
)

// Option changes how a session is made.
type Option func(*settings)

type settings struct {
	namespace   string
	name        string
	env         map[string]string
	keepAlive   bool
	idleTimeout time.Duration
	timeout     time.Duration
	reconnect   time.Duration
}

func newSettings(opts []Option) settings {
	s := settings{namespace: metav1.NamespaceDefault, timeout: DefaultTimeout, reconnect: DefaultReconnectTimeout}
	for _, opt := range opts {
		opt(&s)
	}
	if s.namespace == "" {
		s.namespace = metav1.NamespaceDefault
	}
	if s.idleTimeout == 0 && !s.keepAlive {
		s.idleTimeout = DefaultIdleTimeout
	}
	return s
}

// WithNamespace names the namespace of the pool, and of all that the session
// makes. The default is "default".
func WithNamespace(namespace string) Option { return func(s *settings) { s.namespace = namespace } }

// WithName names the sandbox, to find it with kubectl. By default it has the
// pool's name with random characters. If there is a sandbox of the name,
// NewSession returns an error that is ErrConflict.
func WithName(name string) Option { return func(s *settings) { s.name = name } }

// WithEnv gives every command of the session environment variables. A step's own win.
func WithEnv(env map[string]string) Option {
	return func(s *settings) { s.env = maps.Clone(env) }
}

// WithIdleTimeout says after which time without Execute the server ends the
// session, whether the program still runs or not. It is rounded up to
// seconds; the default is DefaultIdleTimeout. It never counts while steps run.
func WithIdleTimeout(timeout time.Duration) Option {
	return func(s *settings) { s.idleTimeout = timeout }
}

// WithKeepAlive has the session live on however long nothing runs in it, until
// Close. Then nobody but you ends it if the program dies before that; give it
// WithIdleTimeout as well for a sandbox that lasts long but not for ever.
func WithKeepAlive() Option { return func(s *settings) { s.keepAlive = true } }

// WithTimeout bounds how long the steps of one Execute may run, after which they
// are stopped and Execute returns a *TaskTimeoutError. Waiting for their turn
// does not count. The default is DefaultTimeout.
func WithTimeout(timeout time.Duration) Option { return func(s *settings) { s.timeout = timeout } }

// WithReconnectTimeout says how long a server that does not answer is tried
// again, in every call, before the call returns an error that is ErrUnavailable.
// The default is DefaultReconnectTimeout.
func WithReconnectTimeout(timeout time.Duration) Option {
	return func(s *settings) { s.reconnect = timeout }
}
