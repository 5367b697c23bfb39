package sandbox

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/storage"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// fakeAllocator has a number of idle pods and remembers what became of each
// reservation. The test fails if one is settled twice.
type fakeAllocator struct {
	t *testing.T

	mu       sync.Mutex
	idle     int
	reserved int
	// outcomes has one entry for each settled reservation.
	outcomes []outcome
}

func (a *fakeAllocator) Reserve(_ context.Context, box *v1alpha1.Sandbox) (*v1alpha1.SandboxStatus, func(bool)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.idle == 0 {
		return nil, nil
	}
	a.idle--
	a.reserved++
	pod := fmt.Sprintf("pod-%d", a.reserved)
	settled := false
	return &v1alpha1.SandboxStatus{Phase: v1alpha1.SandboxReady, PodName: pod}, func(stored bool) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if settled {
			a.t.Errorf("the reservation of %s for %s was settled twice", pod, box.Name)
		}
		settled = true
		if !stored {
			a.idle++
		}
		a.outcomes = append(a.outcomes, outcome{Pod: pod, Stored: stored})
	}
}

// outcome is what became of the reservation of a pod.
type outcome struct {
	Pod    string
	Stored bool
}

// fakeStorage holds one object and fails as told.
type fakeStorage struct {
	storage.Interface // nil: what is not overridden must not be called

	stored *arl.Sandbox
	// createErr is what a write answers. If written is true it is answered
	// after the write, as a storage does that was cut off.
	createErr error
	written   bool
	getErr    error
	panics    bool
	// rival, if set, is stored by somebody else before the first try of an
	// update is committed.
	rival *arl.Sandbox
	// tries counts the calls of an update's function.
	tries int
}

func (s *fakeStorage) Versioner() storage.Versioner { return storage.APIObjectVersioner{} }

func (s *fakeStorage) Create(ctx context.Context, key string, obj, out runtime.Object, _ uint64) error {
	if s.panics {
		panic("out of order")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.stored != nil {
		return storage.NewKeyExistsError(key, 0)
	}
	return s.commit(obj, out)
}

func (s *fakeStorage) commit(obj, out runtime.Object) error {
	if s.createErr != nil && !s.written {
		return s.createErr
	}
	s.stored = obj.(*arl.Sandbox).DeepCopy()
	s.stored.ResourceVersion = "7"
	if s.createErr != nil {
		return s.createErr
	}
	s.stored.DeepCopyInto(out.(*arl.Sandbox))
	return nil
}

func (s *fakeStorage) Get(ctx context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	switch {
	case s.getErr != nil:
		return s.getErr
	case ctx.Err() != nil:
		return ctx.Err()
	case s.stored != nil:
		s.stored.DeepCopyInto(out.(*arl.Sandbox))
		return nil
	case opts.IgnoreNotFound:
		return nil
	default:
		return storage.NewKeyNotFoundError(key, 0)
	}
}

func (s *fakeStorage) GuaranteedUpdate(
	_ context.Context, _ string, out runtime.Object, _ bool, _ *storage.Preconditions, try storage.UpdateFunc, _ runtime.Object,
) error {
	for {
		s.tries++
		existing := &arl.Sandbox{}
		if s.stored != nil {
			existing = s.stored.DeepCopy()
		}
		obj, _, err := try(existing, storage.ResponseMeta{})
		if err != nil {
			return err
		}
		if s.rival == nil {
			return s.commit(obj, out)
		}
		s.stored, s.rival = s.rival, nil
		if s.stored.UID == "" {
			s.stored = nil // the rival came and went
		}
	}
}

func newSandbox(name string, uid types.UID) *arl.Sandbox {
	s := &arl.Sandbox{}
	s.Name, s.Namespace, s.UID = name, "default", uid
	s.Spec.PoolRef = "pool"
	s.Status.Phase = arl.SandboxPending
	return s
}
