package registry

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apiserver"
)

func TestFinalizersHoldADeletion(t *testing.T) {
	s := start(t, apiserver.Extra{})
	boxes := s.Sandboxes(namespace)
	in := sandbox("a", "p")
	in.Finalizers = []string{"example.com/hold"}
	if _, err := boxes.Create(t.Context(), in, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := boxes.Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	dying, err := boxes.Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if dying.DeletionTimestamp == nil {
		t.Fatal("the deletion is not marked")
	}
	dying.Status.Phase = v1alpha1.SandboxFailed
	dying.Finalizers = nil
	if dying, err = boxes.UpdateStatus(t.Context(), dying, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if len(dying.Finalizers) != 1 {
		t.Fatal("a status update removed the finalizer")
	}
	dying.Finalizers = nil
	if _, err := boxes.Update(t.Context(), dying, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := boxes.Get(t.Context(), "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after the last finalizer: %v, want not found", err)
	}
}

func TestDeletePreconditions(t *testing.T) {
	s := start(t, apiserver.Extra{})
	tasks := s.Tasks(namespace)
	created, err := tasks.Create(t.Context(), task("a", "box"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	created.Status.State = v1alpha1.TaskRunning
	running, err := tasks.UpdateStatus(t.Context(), created, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name          string
		preconditions metav1.Preconditions
		want          func(error) bool
	}{
		{name: "another UID", preconditions: metav1.Preconditions{UID: ptr.To[types.UID]("other")}, want: apierrors.IsConflict},
		{name: "an old version", preconditions: metav1.Preconditions{ResourceVersion: &created.ResourceVersion}, want: apierrors.IsConflict},
		{
			name:          "a running task",
			preconditions: metav1.Preconditions{UID: &running.UID, ResourceVersion: &running.ResourceVersion},
			want:          func(err error) bool { return err == nil },
		},
		{name: "gone", want: apierrors.IsNotFound},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if err := tasks.Delete(t.Context(), "a", metav1.DeleteOptions{Preconditions: &tc.preconditions}); !tc.want(err) {
				t.Errorf("unexpected error: %v", err)
			}
		})
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	s := start(t, apiserver.Extra{})
	pools := s.WarmPools(namespace)
	all := []string{metav1.DryRunAll}
	before, err := pools.Create(t.Context(), pool("p"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	changed := before.DeepCopy()
	changed.Spec.Replicas = ptr.To[int32](8)
	tests := map[string]func() error{
		"create": func() error {
			got, err := pools.Create(t.Context(), pool("q"), metav1.CreateOptions{DryRun: all})
			if err == nil && got.Spec.WorkDir != v1alpha1.DefaultWorkDir {
				t.Errorf("a dry run did not default: %+v", got.Spec)
			}
			return err
		},
		"update": func() error {
			got, err := pools.Update(t.Context(), changed, metav1.UpdateOptions{DryRun: all})
			if err == nil && *got.Spec.Replicas != 8 {
				t.Errorf("a dry run answered %d replicas, want 8", *got.Spec.Replicas)
			}
			return err
		},
		"patch": func() error {
			_, err := pools.Patch(t.Context(), "p", types.MergePatchType, []byte(`{"spec":{"replicas":8}}`), metav1.PatchOptions{DryRun: all})
			return err
		},
		"scale": func() error {
			return s.RESTClient().Patch(types.MergePatchType).Namespace(namespace).Resource("warmpools").Name("p").SubResource("scale").
				Param("dryRun", metav1.DryRunAll).Body([]byte(`{"spec":{"replicas":8}}`)).Do(t.Context()).Error()
		},
		"delete": func() error { return pools.Delete(t.Context(), "p", metav1.DeleteOptions{DryRun: all}) },
	}
	for name, call := range tests {
		t.Run(name, func(t *testing.T) {
			if err := call(); err != nil {
				t.Fatal(err)
			}
			list, err := pools.List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if len(list.Items) != 1 || list.Items[0].ResourceVersion != before.ResourceVersion {
				t.Errorf("a dry run wrote: %v", list.Items)
			}
		})
	}
}
