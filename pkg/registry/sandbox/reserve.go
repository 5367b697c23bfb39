package sandbox

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// reservingStorage asks for a pod right before a new sandbox is written, so
// that both become durable in one write.
type reservingStorage struct {
	storage.Interface
	allocator Allocator
}

// Create stores a new sandbox, bound to a pod if one is free.
func (s *reservingStorage) Create(ctx context.Context, key string, obj, out runtime.Object, ttl uint64) error {
	r := reservation{allocator: s.allocator}
	defer r.giveBack()
	obj, err := r.take(ctx, obj)
	if err != nil {
		return err
	}
	if r.done == nil {
		return s.Interface.Create(ctx, key, obj, out, ttl)
	}
	// A client that goes away must not leave it open whether the pod is taken.
	ctx = context.WithoutCancel(ctx)
	err = s.Interface.Create(ctx, key, obj, out, ttl)
	return s.settle(ctx, &r, write{key: key, out: out, err: err})
}

// GuaranteedUpdate passes updates on. One that may create, as server-side apply
// does, is given a pod as Create gives one if it comes to that.
func (s *reservingStorage) GuaranteedUpdate(
	ctx context.Context, key string, out runtime.Object, ignoreNotFound bool,
	preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc, cachedExisting runtime.Object,
) error {
	if !ignoreNotFound {
		return s.Interface.GuaranteedUpdate(ctx, key, out, ignoreNotFound, preconditions, tryUpdate, cachedExisting)
	}
	r := reservation{allocator: s.allocator}
	defer r.giveBack()
	try := func(existing runtime.Object, meta storage.ResponseMeta) (runtime.Object, *uint64, error) {
		r.giveBack() // that try lost a race; this one starts afresh
		obj, ttl, err := tryUpdate(existing, meta)
		if err != nil {
			return nil, nil, err
		}
		version, err := s.Versioner().ObjectResourceVersion(existing)
		if err != nil {
			return nil, nil, err
		}
		if version == 0 {
			obj, err = r.take(ctx, obj)
		}
		return obj, ttl, err
	}
	ctx = context.WithoutCancel(ctx) // as in Create
	err := s.Interface.GuaranteedUpdate(ctx, key, out, ignoreNotFound, preconditions, try, cachedExisting)
	return s.settle(ctx, &r, write{key: key, out: out, err: err})
}

// write is what the storage made of a write.
type write struct {
	key string
	out runtime.Object
	err error
}

// settle tells the allocator how the write of a reserved pod went. An error
// alone does not say that: the object is looked up, and if it is there the
// write succeeded after all.
func (s *reservingStorage) settle(ctx context.Context, r *reservation, w write) error {
	if r.done == nil {
		return w.err
	}
	out, ok := w.out.(*arl.Sandbox)
	if !ok {
		return fmt.Errorf("%T is no sandbox", w.out)
	}
	if w.err != nil {
		found := &arl.Sandbox{}
		err := s.Get(ctx, w.key, storage.GetOptions{IgnoreNotFound: true}, found)
		switch {
		case err != nil:
			r.keep()
			return w.err
		case found.UID != r.bound.UID:
			r.giveBack()
			return w.err
		}
		found.DeepCopyInto(out)
	}
	r.keep()
	return nil
}

// reservation is a pod taken for a sandbox whose write is under way, or none.
type reservation struct {
	allocator Allocator
	// bound is the sandbox with the pod, as it will be stored, and done reports
	// whether it was. Both are nil while there is no pod.
	bound *arl.Sandbox
	done  func(stored bool)
}

// take asks for a pod. It returns the object to store: a copy that has the pod,
// or obj itself if none is free.
func (r *reservation) take(ctx context.Context, obj runtime.Object) (runtime.Object, error) {
	sandbox, ok := obj.(*arl.Sandbox)
	if !ok {
		return nil, fmt.Errorf("%T is no sandbox", obj)
	}
	asked := &v1alpha1.Sandbox{}
	if err := v1alpha1.Convert_arl_Sandbox_To_v1alpha1_Sandbox(sandbox, asked, nil); err != nil {
		return nil, fmt.Errorf("convert sandbox: %w", err)
	}
	status, done := r.allocator.Reserve(ctx, asked)
	if status == nil {
		return obj, nil
	}
	r.done = done
	r.bound = &arl.Sandbox{TypeMeta: sandbox.TypeMeta, ObjectMeta: sandbox.ObjectMeta, Spec: sandbox.Spec}
	if err := v1alpha1.Convert_v1alpha1_SandboxStatus_To_arl_SandboxStatus(status.DeepCopy(), &r.bound.Status, nil); err != nil {
		return nil, fmt.Errorf("convert status: %w", err)
	}
	return r.bound, nil
}

// keep leaves the pod to the sandbox, which is stored.
func (r *reservation) keep() { r.settle(true) }

// giveBack returns the pod, if there is one.
func (r *reservation) giveBack() { r.settle(false) }

func (r *reservation) settle(stored bool) {
	if r.done == nil {
		return
	}
	done := r.done
	r.done, r.bound = nil, nil
	done(stored)
}
