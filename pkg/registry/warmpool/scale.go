package warmpool

import (
	"context"
	"fmt"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/registry/kind"
)

// replicasPaths says where a WarmPool keeps what a Scale calls spec.replicas,
// so that ownership of the one is ownership of the other.
var replicasPaths = managedfields.ResourcePathMappings{
	v1alpha1.SchemeGroupVersion.String(): fieldpath.MakePathOrDie("spec", "replicas"),
}

// ScaleREST serves the scale subresource: the number of replicas of a WarmPool
// as the Scale that "kubectl scale" and autoscalers know.
type ScaleREST struct {
	store *genericregistry.Store
	table *kind.Table[*autoscalingv1.Scale]
}

var (
	_ rest.Patcher                  = (*ScaleREST)(nil)
	_ rest.GroupVersionKindProvider = (*ScaleREST)(nil)
	_ rest.TableConvertor           = (*ScaleREST)(nil)
)

// GroupVersionKind is that of the Scale, which is none of the arl.io group.
func (r *ScaleREST) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
}

// New returns an empty Scale.
func (r *ScaleREST) New() runtime.Object { return &autoscalingv1.Scale{} }

// Destroy does nothing: the store is destroyed with the main resource.
func (r *ScaleREST) Destroy() {}

// ConvertToTable prints a Scale.
func (r *ScaleREST) ConvertToTable(ctx context.Context, object, tableOptions runtime.Object) (*metav1.Table, error) {
	return r.table.ConvertToTable(ctx, object, tableOptions)
}

// Get returns the Scale of a pool.
func (r *ScaleREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	obj, err := r.store.Get(ctx, name, options)
	if err != nil {
		return nil, err
	}
	return scaleOf(obj.(*arl.WarmPool)), nil
}

// Update sets the replicas of a pool that exists. It is a change of the pool's
// spec like any other: validated, and counted by the generation.
func (r *ScaleREST) Update(ctx context.Context, name string, objInfo rest.UpdatedObjectInfo, createValidation rest.ValidateObjectFunc, updateValidation rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	obj, _, err := r.store.Update(ctx, name, &scaledPool{scale: objInfo},
		func(ctx context.Context, pool runtime.Object) error {
			return createValidation(ctx, scaleOf(pool.(*arl.WarmPool)))
		},
		func(ctx context.Context, pool, old runtime.Object) error {
			return updateValidation(ctx, scaleOf(pool.(*arl.WarmPool)), scaleOf(old.(*arl.WarmPool)))
		},
		false, options)
	if err != nil {
		return nil, false, err
	}
	return scaleOf(obj.(*arl.WarmPool)), false, nil
}

// scaledPool turns a wanted Scale into the pool that has it.
type scaledPool struct {
	scale rest.UpdatedObjectInfo
}

// Preconditions are those asked of the Scale: its UID is the pool's.
func (s *scaledPool) Preconditions() *metav1.Preconditions { return s.scale.Preconditions() }

// UpdatedObject returns the stored pool with the replicas, resourceVersion and
// managed fields of the wanted Scale.
func (s *scaledPool) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	pool, ok := old.DeepCopyObject().(*arl.WarmPool)
	if !ok {
		return nil, fmt.Errorf("%T cannot be scaled", old)
	}
	managers := managedfields.NewScaleHandler(pool.ManagedFields, v1alpha1.SchemeGroupVersion, replicasPaths)
	current := scaleOf(pool)
	var err error
	if current.ManagedFields, err = managers.ToSubresource(); err != nil {
		return nil, fmt.Errorf("read the managed fields of the pool: %w", err)
	}

	wanted, err := s.scale.UpdatedObject(ctx, current)
	if err != nil {
		return nil, err
	}
	scale, ok := wanted.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected a Scale, got %T", wanted))
	}
	pool.Spec.Replicas = ptr.To(scale.Spec.Replicas)
	if scale.ResourceVersion != "" {
		pool.ResourceVersion = scale.ResourceVersion
	}
	if pool.ManagedFields, err = managers.ToParent(scale.ManagedFields); err != nil {
		return nil, fmt.Errorf("write the managed fields of the pool: %w", err)
	}
	return pool, nil
}

func scaleOf(p *arl.WarmPool) *autoscalingv1.Scale {
	return &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name:              p.Name,
			Namespace:         p.Namespace,
			UID:               p.UID,
			ResourceVersion:   p.ResourceVersion,
			CreationTimestamp: p.CreationTimestamp,
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: ptr.Deref(p.Spec.Replicas, 0)},
		Status: autoscalingv1.ScaleStatus{Replicas: p.Status.Replicas, Selector: p.Status.Selector},
	}
}

func newScaleTable(clk clock.PassiveClock) *kind.Table[*autoscalingv1.Scale] {
	return kind.NewTable(clk,
		kind.Column[*autoscalingv1.Scale]{Name: "Desired", Type: "integer", Description: "Number of idle, ready pods to keep.",
			Cell: func(s *autoscalingv1.Scale, _ time.Time) any { return int64(s.Spec.Replicas) }},
		kind.Column[*autoscalingv1.Scale]{Name: "Current", Type: "integer", Description: "Number of pods that no sandbox uses.",
			Cell: func(s *autoscalingv1.Scale, _ time.Time) any { return int64(s.Status.Replicas) }},
	)
}
