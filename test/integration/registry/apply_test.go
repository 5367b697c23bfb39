package registry

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apiserver"
	apply "arl.io/arl/pkg/generated/applyconfiguration/arl/v1alpha1"
)

// owner is one entry of the managed fields, in a form that compares well.
type owner struct {
	Operation, Subresource, Fields string
}

func owners(meta metav1.ObjectMeta) map[string]owner {
	out := map[string]owner{}
	for _, e := range meta.ManagedFields {
		out[e.Manager] = owner{Operation: string(e.Operation), Subresource: e.Subresource, Fields: e.FieldsV1.GetRawString()}
	}
	return out
}

func TestServerSideApply(t *testing.T) {
	s := start(t, apiserver.Extra{})
	boxes := s.Sandboxes(namespace)

	created, err := boxes.Apply(t.Context(), apply.Sandbox("a", namespace).
		WithSpec(apply.SandboxSpec().WithPoolRef("p").WithKeepAlive(true)).
		WithStatus(apply.SandboxStatus().WithPodName("stolen")),
		metav1.ApplyOptions{FieldManager: "author"})
	if err != nil {
		t.Fatal(err)
	}
	if created.Status.PodName != "" || created.Generation != 1 {
		t.Errorf("pod %q and generation %d, want none and 1", created.Status.PodName, created.Generation)
	}

	if _, err := boxes.ApplyStatus(t.Context(), apply.Sandbox("a", namespace).
		WithSpec(apply.SandboxSpec().WithPoolRef("other")).
		WithStatus(apply.SandboxStatus().WithPhase(v1alpha1.SandboxFailed)),
		metav1.ApplyOptions{FieldManager: "scheduler"}); err != nil {
		t.Fatal(err)
	}

	_, err = boxes.Apply(t.Context(), apply.Sandbox("a", namespace).
		WithSpec(apply.SandboxSpec().WithPoolRef("p").WithKeepAlive(false)),
		metav1.ApplyOptions{FieldManager: "rival"})
	if !apierrors.IsConflict(err) {
		t.Errorf("two managers of one field: %v, want a conflict", err)
	}

	got, err := boxes.Apply(t.Context(), apply.Sandbox("a", namespace).
		WithSpec(apply.SandboxSpec().WithPoolRef("p").WithKeepAlive(false)),
		metav1.ApplyOptions{FieldManager: "rival", Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if got.Spec.KeepAlive || got.Generation != 2 || got.Status.Phase != v1alpha1.SandboxFailed {
		t.Errorf("unexpected object after a forced apply: %+v", got)
	}
	want := map[string]owner{
		"author":    {Operation: "Apply", Fields: `{"f:spec":{"f:poolRef":{}}}`},
		"rival":     {Operation: "Apply", Fields: `{"f:spec":{"f:keepAlive":{},"f:poolRef":{}}}`},
		"scheduler": {Operation: "Apply", Subresource: "status", Fields: `{"f:status":{"f:phase":{}}}`},
	}
	if diff := cmp.Diff(want, owners(got.ObjectMeta)); diff != "" {
		t.Errorf("unexpected owners (-want +got):\n%s", diff)
	}
}

func TestApplyDropsWhatIsNoLongerApplied(t *testing.T) {
	s := start(t, apiserver.Extra{})
	boxes := s.Sandboxes(namespace)
	options := metav1.ApplyOptions{FieldManager: "author"}
	full := apply.Sandbox("a", namespace).WithLabels(map[string]string{"l": "v"}).
		WithSpec(apply.SandboxSpec().WithPoolRef("p").WithIdleTimeoutSeconds(9))
	if _, err := boxes.Apply(t.Context(), full, options); err != nil {
		t.Fatal(err)
	}
	less := apply.Sandbox("a", namespace).WithSpec(apply.SandboxSpec().WithPoolRef("p"))
	got, err := boxes.Apply(t.Context(), less, options)
	if err != nil {
		t.Fatal(err)
	}
	if got.Labels != nil || got.Spec.IdleTimeoutSeconds != nil {
		t.Errorf("labels %v and idleTimeoutSeconds %v are still there", got.Labels, got.Spec.IdleTimeoutSeconds)
	}

	again, err := boxes.Apply(t.Context(), less, options)
	if err != nil {
		t.Fatal(err)
	}
	if again.ResourceVersion != got.ResourceVersion {
		t.Errorf("an apply that changes nothing wrote version %s after %s", again.ResourceVersion, got.ResourceVersion)
	}
}

func TestApplyStatusDoesNotCreate(t *testing.T) {
	s := start(t, apiserver.Extra{})
	_, err := s.Sandboxes(namespace).ApplyStatus(t.Context(),
		apply.Sandbox("a", namespace).WithStatus(apply.SandboxStatus().WithPhase(v1alpha1.SandboxReady)),
		metav1.ApplyOptions{FieldManager: "scheduler"})
	if !apierrors.IsNotFound(err) {
		t.Errorf("error %v, want not found", err)
	}
}

func TestUpdatesOwnWhatTheyChange(t *testing.T) {
	s := start(t, apiserver.Extra{})
	tasks := s.Tasks(namespace)
	created, err := tasks.Create(t.Context(), task("a", "box"), metav1.CreateOptions{FieldManager: "author"})
	if err != nil {
		t.Fatal(err)
	}
	created.Status.State = v1alpha1.TaskRunning
	running, err := tasks.UpdateStatus(t.Context(), created, metav1.UpdateOptions{FieldManager: "scheduler"})
	if err != nil {
		t.Fatal(err)
	}
	got := owners(running.ObjectMeta)
	want := owner{Operation: "Update", Subresource: "status", Fields: `{"f:status":{"f:state":{}}}`}
	if diff := cmp.Diff(want, got["scheduler"]); diff != "" {
		t.Errorf("unexpected fields of the scheduler (-want +got):\n%s", diff)
	}
	if _, ok := got["author"]; !ok {
		t.Errorf("the author owns nothing: %v", got)
	}
}
