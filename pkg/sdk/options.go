package sdk

import (
	"maps"
	"math"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
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
	// DefaultMaxConcurrentTasks is how many calls of Execute run in a session at the same time.
	DefaultMaxConcurrentTasks = 16
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
	concurrent  int
	grace       *int32
	retention   v1alpha1.RetentionPolicy
}

func newSettings(opts []Option) settings {
	s := settings{
		namespace:  metav1.NamespaceDefault,
		timeout:    DefaultTimeout,
		reconnect:  DefaultReconnectTimeout,
		concurrent: DefaultMaxConcurrentTasks,
	}
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

// WithKeepAlive keeps the session however long nothing runs in it, until Close or the timeout of
// WithIdleTimeout, if there is one. It is keepAlive of the API. Without WithIdleTimeout, a sandbox
// whose program was killed stays until somebody deletes it.
func WithKeepAlive() Option { return func(s *settings) { s.keepAlive = true } }

// WithMaxConcurrentTasks bounds how many calls of Execute run in the session at the same time, 1 to
// 64. Others wait on the server for their turn. The default is DefaultMaxConcurrentTasks.
func WithMaxConcurrentTasks(tasks int) Option { return func(s *settings) { s.concurrent = tasks } }

// WithTerminationGrace is the time between the signals TERM and KILL when the steps of an Execute are
// stopped: by their timeout, by the end of the context, or with the sandbox. It is rounded up to
// seconds, 0 to an hour; the default is the server's, 2 seconds.
func WithTerminationGrace(grace time.Duration) Option {
	return func(s *settings) { s.grace = ptr.To(seconds(grace)) }
}

// WithRetentionPolicy says what becomes of the Task objects of the session after they ended:
// v1alpha1.RetentionDelete (the default), or v1alpha1.RetentionRetain, which keeps them until they
// are deleted.
func WithRetentionPolicy(policy v1alpha1.RetentionPolicy) Option {
	return func(s *settings) { s.retention = policy }
}

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

// seconds rounds a duration up to whole seconds.
func seconds(d time.Duration) int32 {
	return int32(max(math.MinInt32, min(math.Ceil(d.Seconds()), math.MaxInt32)))
}
