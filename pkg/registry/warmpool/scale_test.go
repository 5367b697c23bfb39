package warmpool

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"

	"arl.io/arl/pkg/apis/arl"
)

func stored() *arl.WarmPool {
	p := pool("p")
	p.UID, p.ResourceVersion = "uid", "5"
	p.Status = arl.WarmPoolStatus{Replicas: 4, Selector: "arl.io/pool=p"}
	p.ManagedFields = []metav1.ManagedFieldsEntry{{
		Manager: "author", Operation: metav1.ManagedFieldsOperationApply, APIVersion: "arl.io/v1alpha1",
		FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:replicas":{},"f:workDir":{}}}`),
	}}
	return p
}

func TestScaleOf(t *testing.T) {
	want := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default", UID: "uid", ResourceVersion: "5"},
		Spec:       autoscalingv1.ScaleSpec{Replicas: 3},
		Status:     autoscalingv1.ScaleStatus{Replicas: 4, Selector: "arl.io/pool=p"},
	}
	if diff := cmp.Diff(want, scaleOf(stored())); diff != "" {
		t.Errorf("unexpected scale (-want +got):\n%s", diff)
	}
}

// TestScaledPool takes the replicas over from the author, as an update by
// another manager does, and wants the rest of the author's fields untouched.
func TestScaledPool(t *testing.T) {
	info := rest.DefaultUpdatedObjectInfo(nil, func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
		scale := old.DeepCopyObject().(*autoscalingv1.Scale)
		if len(scale.ManagedFields) != 1 || scale.ManagedFields[0].APIVersion != "autoscaling/v1" {
			t.Errorf("the author's ownership is not shown as a scale's: %v", scale.ManagedFields)
		}
		scale.Spec.Replicas = 9
		scale.ManagedFields = []metav1.ManagedFieldsEntry{{
			Manager: "autoscaler", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "autoscaling/v1", Subresource: "scale",
			FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:replicas":{}}}`),
		}}
		return scale, nil
	})
	obj, err := (&scaledPool{scale: info}).UpdatedObject(t.Context(), stored())
	if err != nil {
		t.Fatal(err)
	}
	got := obj.(*arl.WarmPool)
	if *got.Spec.Replicas != 9 || got.ResourceVersion != "5" {
		t.Errorf("replicas %d at version %s, want 9 at 5", *got.Spec.Replicas, got.ResourceVersion)
	}
	owned := map[string]string{}
	for _, e := range got.ManagedFields {
		if e.APIVersion != "arl.io/v1alpha1" {
			t.Errorf("%s owns fields of %s", e.Manager, e.APIVersion)
		}
		owned[e.Manager] = e.FieldsV1.GetRawString()
	}
	want := map[string]string{
		"author":     `{"f:spec":{"f:workDir":{}}}`,
		"autoscaler": `{"f:spec":{"f:replicas":{}}}`,
	}
	if diff := cmp.Diff(want, owned); diff != "" {
		t.Errorf("unexpected owners (-want +got):\n%s", diff)
	}
}

func TestScaledPoolRefuses(t *testing.T) {
	errNo := errors.New("no")
	tests := []struct {
		name   string
		wanted runtime.Object
		err    error
	}{
		{name: "what is no scale", wanted: &arl.Task{}},
		{name: "what cannot be read", wanted: &autoscalingv1.Scale{}, err: errNo},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			info := rest.DefaultUpdatedObjectInfo(nil, func(context.Context, runtime.Object, runtime.Object) (runtime.Object, error) {
				return tc.wanted, tc.err
			})
			obj, err := (&scaledPool{scale: info}).UpdatedObject(t.Context(), stored())
			if err == nil || (tc.err != nil && !errors.Is(err, tc.err)) {
				t.Errorf("got %v and error %v, want an error", obj, err)
			}
		})
	}
}

func TestScaledPoolTakesThePrecondition(t *testing.T) {
	info := rest.DefaultUpdatedObjectInfo(&autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "uid", ResourceVersion: "4"},
	})
	wanted := &scaledPool{scale: info}
	obj, err := wanted.UpdatedObject(t.Context(), stored())
	if err != nil {
		t.Fatal(err)
	}
	if got := obj.(*arl.WarmPool).ResourceVersion; got != "4" {
		t.Errorf("resourceVersion %s, want the client's 4, so that the store finds the conflict", got)
	}
	if p := wanted.Preconditions(); p == nil || p.UID == nil || *p.UID != "uid" {
		t.Errorf("preconditions %v, want the client's UID", p)
	}
}
