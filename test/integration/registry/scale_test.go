package registry

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/rest"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apiserver"
	apply "arl.io/arl/pkg/generated/applyconfiguration/arl/v1alpha1"
)

func TestScale(t *testing.T) {
	s := start(t, apiserver.Extra{})
	pools := s.WarmPools(namespace)
	created, err := pools.Create(t.Context(), pool("p"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	created.Status.Replicas, created.Status.Selector = 1, "arl.io/pool=p"
	if _, err := pools.UpdateStatus(t.Context(), created, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}

	scale, err := pools.GetScale(t.Context(), "p", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if scale.Spec.Replicas != 1 || scale.Status != (autoscalingv1.ScaleStatus{Replicas: 1, Selector: "arl.io/pool=p"}) {
		t.Errorf("unexpected scale: %+v", scale)
	}

	scale.Spec.Replicas = 7
	scaled, err := pools.UpdateScale(t.Context(), "p", scale, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := pools.Get(t.Context(), "p", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if scaled.Spec.Replicas != 7 || *got.Spec.Replicas != 7 || got.Generation != 2 {
		t.Errorf("answered %d, stored %d at generation %d; want 7, 7, 2", scaled.Spec.Replicas, *got.Spec.Replicas, got.Generation)
	}
	if scaled.ResourceVersion != got.ResourceVersion {
		t.Errorf("the scale is at version %s, its pool at %s", scaled.ResourceVersion, got.ResourceVersion)
	}

	if _, err := pools.UpdateScale(t.Context(), "p", scale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("a stale scale: %v, want a conflict", err)
	}
	scaled.Spec.Replicas = 10001
	if _, err := pools.UpdateScale(t.Context(), "p", scaled, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("10001 replicas: %v, want invalid", err)
	}
	missing := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "q"}}
	if _, err := pools.UpdateScale(t.Context(), "q", missing, metav1.UpdateOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the scale of no pool: %v, want not found", err)
	}
}

// patchScale sets the replicas as "kubectl scale" and "kubectl apply" do.
func patchScale(t *testing.T, c rest.Interface, kind types.PatchType, body, manager string) *autoscalingv1.Scale {
	t.Helper()
	scale := &autoscalingv1.Scale{}
	request := c.Patch(kind).Namespace(namespace).Resource("warmpools").Name("p").SubResource("scale").
		Param("fieldManager", manager).Body([]byte(body))
	if kind == types.ApplyYAMLPatchType {
		request = request.Param("force", "true") // from whoever created the pool
	}
	raw, err := request.Do(t.Context()).Raw()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", kind, body, err, raw)
	}
	if err := decode(raw, scale); err != nil {
		t.Fatal(err)
	}
	return scale
}

func TestScalePatches(t *testing.T) {
	tests := []struct {
		name string
		kind types.PatchType
		body string
	}{
		{name: "merge", kind: types.MergePatchType, body: `{"spec":{"replicas":4}}`},
		{name: "strategic merge", kind: types.StrategicMergePatchType, body: `{"spec":{"replicas":4}}`},
		{name: "JSON", kind: types.JSONPatchType, body: `[{"op":"replace","path":"/spec/replicas","value":4}]`},
		{name: "apply", kind: types.ApplyYAMLPatchType,
			body: `{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"p"},"spec":{"replicas":4}}`},
	}
	s := start(t, apiserver.Extra{})
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := s.WarmPools(namespace).Create(t.Context(), pool("p"), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := s.WarmPools(namespace).Delete(t.Context(), "p", metav1.DeleteOptions{}); err != nil {
					t.Error(err)
				}
			}()
			if got := patchScale(t, s.RESTClient(), tc.kind, tc.body, "autoscaler"); got.Spec.Replicas != 4 {
				t.Errorf("answered %d replicas, want 4", got.Spec.Replicas)
			}
			got, err := s.WarmPools(namespace).Get(t.Context(), "p", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			want := owner{Subresource: "scale", Operation: "Update", Fields: `{"f:spec":{"f:replicas":{}}}`}
			if tc.kind == types.ApplyYAMLPatchType {
				want.Operation = "Apply"
			}
			if diff := cmp.Diff(want, owners(got.ObjectMeta)["autoscaler"]); diff != "" {
				t.Errorf("unexpected owner of the replicas (-want +got):\n%s", diff)
			}
		})
	}
}

// TestScaleTakesOwnership is what lets an autoscaler and the author of a
// manifest share a pool: who scales owns the replicas, and the author who
// applies another number learns of it.
func TestScaleTakesOwnership(t *testing.T) {
	s := start(t, apiserver.Extra{})
	pools := s.WarmPools(namespace)
	manifest := func(replicas int32) *apply.WarmPoolApplyConfiguration {
		container := coreapply.Container().WithName("executor").WithImage("busybox:1")
		return apply.WarmPool("p", namespace).WithSpec(apply.WarmPoolSpec().WithReplicas(replicas).
			WithTemplate(coreapply.PodTemplateSpec().WithSpec(coreapply.PodSpec().WithContainers(container))))
	}
	if _, err := pools.Apply(t.Context(), manifest(1), metav1.ApplyOptions{FieldManager: "author"}); err != nil {
		t.Fatal(err)
	}
	patchScale(t, s.RESTClient(), types.MergePatchType, `{"spec":{"replicas":4}}`, "autoscaler")
	_, err := pools.Apply(t.Context(), manifest(1), metav1.ApplyOptions{FieldManager: "author"})
	if !apierrors.IsConflict(err) {
		t.Errorf("the author scaled back unawares: %v, want a conflict", err)
	}
	var got *v1alpha1.WarmPool
	if got, err = pools.Apply(t.Context(), manifest(4), metav1.ApplyOptions{FieldManager: "author"}); err != nil {
		t.Fatalf("agreeing on the number: %v", err)
	}
	if *got.Spec.Replicas != 4 {
		t.Errorf("%d replicas, want 4", *got.Spec.Replicas)
	}
}
