package space

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/generated/clientset/versioned"
	client "arl.io/arl/pkg/generated/clientset/versioned/typed/arl/v1alpha1"
)

// Space is a namespace and who works in it.
type Space struct {
	T         *testing.T
	Namespace string
	// Client is asked for each request: a server that moves gets a new one.
	Client func() versioned.Interface
	// Waiter bounds every wait.
	Waiter Waiter
}

// In is the same space in a subtest.
func (s *Space) In(t *testing.T) *Space {
	inner := *s
	inner.T = t
	return &inner
}

// Pools returns the client of the space's pools.
func (s *Space) Pools() client.WarmPoolInterface {
	return s.Client().ArlV1alpha1().WarmPools(s.Namespace)
}

// Sandboxes returns the client of the space's sandboxes.
func (s *Space) Sandboxes() client.SandboxInterface {
	return s.Client().ArlV1alpha1().Sandboxes(s.Namespace)
}

// Tasks returns the client of the space's tasks.
func (s *Space) Tasks() client.TaskInterface { return s.Client().ArlV1alpha1().Tasks(s.Namespace) }

// CreatePool creates a pool and returns it as answered.
func (s *Space) CreatePool(pool *v1alpha1.WarmPool) *v1alpha1.WarmPool {
	s.T.Helper()
	created, err := s.Pools().Create(s.T.Context(), pool, metav1.CreateOptions{})
	if err != nil {
		s.T.Fatalf("create pool %s: %v", pool.Name, err)
	}
	return created
}

// FillPool creates a pool and waits until all its pods are ready.
func (s *Space) FillPool(pool *v1alpha1.WarmPool) *v1alpha1.WarmPool {
	s.T.Helper()
	s.CreatePool(pool)
	return s.AwaitPool(pool.Name, *pool.Spec.Replicas)
}

// CreateSandbox creates a sandbox and returns it as answered.
func (s *Space) CreateSandbox(sandbox *v1alpha1.Sandbox) *v1alpha1.Sandbox {
	s.T.Helper()
	created, err := s.Sandboxes().Create(s.T.Context(), sandbox, metav1.CreateOptions{})
	if err != nil {
		s.T.Fatalf("create sandbox %s: %v", sandbox.Name, err)
	}
	return created
}

// ReadySandbox creates a sandbox, which must be Ready in the answer itself.
func (s *Space) ReadySandbox(name, pool string) *v1alpha1.Sandbox {
	s.T.Helper()
	created := s.CreateSandbox(SandboxOf(name, pool))
	if status := created.Status; status.Phase != v1alpha1.SandboxReady || status.PodName == "" {
		s.T.Fatalf("sandbox %s was created with the status %+v, want it to be Ready at once", name, status)
	}
	return created
}

// CreateTask creates a task and returns it as answered.
func (s *Space) CreateTask(task *v1alpha1.Task) *v1alpha1.Task {
	s.T.Helper()
	created, err := s.Tasks().Create(s.T.Context(), task, metav1.CreateOptions{})
	if err != nil {
		s.T.Fatalf("create task %s: %v", task.Name, err)
	}
	return created
}

// Perform creates a task and waits until it has ended.
func (s *Space) Perform(task *v1alpha1.Task) *v1alpha1.Task {
	s.T.Helper()
	s.CreateTask(task)
	return s.AwaitEnd(task.Name)
}

// Succeed performs a task that must succeed.
func (s *Space) Succeed(task *v1alpha1.Task) *v1alpha1.Task {
	s.T.Helper()
	done := s.Perform(task)
	if done.Status.State != v1alpha1.TaskSucceeded {
		s.T.Fatalf("task %s should have succeeded and is %s", task.Name, Outline(done))
	}
	return done
}

// Output runs a script in a sandbox, which must succeed, and returns what it wrote.
func (s *Space) Output(sandbox, script string) string {
	s.T.Helper()
	return s.Succeed(TaskIn(sandbox, "output-"+rand.String(8), Shell("script", script))).Status.Stdout
}
