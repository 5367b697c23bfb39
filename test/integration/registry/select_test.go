package registry

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apiserver"
)

// createBoxes makes sandboxes a, b of pool p and c of pool q; b is Ready in pod-b.
func createBoxes(t *testing.T, s *server) {
	t.Helper()
	for name, pool := range map[string]string{"a": "p", "b": "p", "c": "q"} {
		in := sandbox(name, pool)
		in.Labels = map[string]string{"pool": pool}
		box, err := s.Sandboxes(namespace).Create(t.Context(), in, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if name != "b" {
			continue
		}
		box.Status.Phase, box.Status.PodName = v1alpha1.SandboxReady, "pod-b"
		if _, err := s.Sandboxes(namespace).UpdateStatus(t.Context(), box, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func names(list *v1alpha1.SandboxList) []string {
	var out []string
	for _, s := range list.Items {
		out = append(out, s.Name)
	}
	slices.Sort(out)
	return out
}

func TestFieldSelectors(t *testing.T) {
	s := start(t, apiserver.Extra{})
	createBoxes(t, s)
	tests := []struct {
		selector string
		want     []string
	}{
		{selector: "", want: []string{"a", "b", "c"}},
		{selector: "metadata.name=c", want: []string{"c"}},
		{selector: "metadata.namespace=elsewhere"},
		{selector: "spec.poolRef=p", want: []string{"a", "b"}},
		{selector: "spec.poolRef!=p", want: []string{"c"}},
		{selector: "status.phase=Ready", want: []string{"b"}},
		{selector: "status.phase=Pending,spec.poolRef=p", want: []string{"a"}},
		{selector: "status.podName=pod-b", want: []string{"b"}},
	}
	for _, tc := range tests {
		t.Run(tc.selector, func(t *testing.T) {
			list, err := s.Sandboxes(namespace).List(t.Context(), metav1.ListOptions{FieldSelector: tc.selector})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, names(list)); diff != "" {
				t.Errorf("unexpected sandboxes (-want +got):\n%s", diff)
			}
		})
	}
	_, err := s.Sandboxes(namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "spec.priority=1"})
	if !apierrors.IsBadRequest(err) {
		t.Errorf("a field that cannot be selected by: %v, want bad request", err)
	}
}

func TestTaskFieldSelectors(t *testing.T) {
	s := start(t, apiserver.Extra{})
	inBox, alone := task("in-box", "box"), task("alone", "")
	alone.Spec.PoolRef = "p"
	for _, in := range []*v1alpha1.Task{inBox, alone} {
		if _, err := s.Tasks(namespace).Create(t.Context(), in, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for selector, want := range map[string][]string{
		"spec.sandboxRef=box":                {"in-box"},
		"spec.poolRef=p":                     {"alone"},
		"status.state=Running":               nil,
		"status.state=Pending,spec.poolRef=": {"in-box"},
	} {
		list, err := s.Tasks(namespace).List(t.Context(), metav1.ListOptions{FieldSelector: selector})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, x := range list.Items {
			got = append(got, x.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("unexpected tasks of %q (-want +got):\n%s", selector, diff)
		}
	}
}

// TestWatchBySelector wants an object to enter a watch when it comes to match,
// and to leave it when it no longer does.
func TestWatchBySelector(t *testing.T) {
	s := start(t, apiserver.Extra{})
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	created, err := s.Sandboxes(namespace).Create(ctx, sandbox("a", "p"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Sandboxes(namespace).Watch(ctx, metav1.ListOptions{
		FieldSelector: "status.phase=Ready", ResourceVersion: created.ResourceVersion,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for _, phase := range []v1alpha1.SandboxPhase{v1alpha1.SandboxReady, v1alpha1.SandboxFailed} {
		created.Status.Phase = phase
		if created, err = s.Sandboxes(namespace).UpdateStatus(ctx, created, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []watch.EventType{watch.Added, watch.Deleted} {
		select {
		case got, ok := <-w.ResultChan():
			if !ok || got.Type != want {
				t.Fatalf("event %v (open: %v), want %v", got, ok, want)
			}
		case <-ctx.Done():
			t.Fatalf("no event, want %v", want)
		}
	}
}

func TestDeleteCollection(t *testing.T) {
	tests := []struct {
		name    string
		options metav1.ListOptions
		want    []string
	}{
		{name: "by label", options: metav1.ListOptions{LabelSelector: "pool=p"}, want: []string{"c"}},
		{name: "by field", options: metav1.ListOptions{FieldSelector: "status.phase=Ready"}, want: []string{"a", "c"}},
		{name: "all"},
	}
	s := start(t, apiserver.Extra{})
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if err := s.Sandboxes(namespace).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
				t.Fatal(err)
			}
			createBoxes(t, s)
			if err := s.Sandboxes(namespace).DeleteCollection(t.Context(), metav1.DeleteOptions{}, tc.options); err != nil {
				t.Fatal(err)
			}
			left, err := s.Sandboxes(namespace).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, names(left)); diff != "" {
				t.Errorf("unexpected sandboxes left (-want +got):\n%s", diff)
			}
		})
	}
}
