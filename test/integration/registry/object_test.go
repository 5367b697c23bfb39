package registry

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apiserver"
)

func TestCreateDefaultsAndClearsTheStatus(t *testing.T) {
	s := start(t, apiserver.Extra{})
	in := pool("p")
	in.Generation = 9
	in.Status = v1alpha1.WarmPoolStatus{Phase: v1alpha1.WarmPoolReady, ReadyReplicas: 5}
	got, err := s.WarmPools(namespace).Create(t.Context(), in, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Generation != 1 || got.UID == "" || got.ResourceVersion == "" {
		t.Errorf("generation %d, uid %q, resourceVersion %q", got.Generation, got.UID, got.ResourceVersion)
	}
	if *got.Spec.Replicas != v1alpha1.DefaultWarmPoolReplicas || got.Spec.WorkDir != v1alpha1.DefaultWorkDir {
		t.Errorf("replicas %d and workDir %q are not the defaults", *got.Spec.Replicas, got.Spec.WorkDir)
	}
	if got.Status.Phase != v1alpha1.WarmPoolPending || got.Status.ReadyReplicas != 0 {
		t.Errorf("the client's status was kept: %+v", got.Status)
	}
	stored, err := s.WarmPools(namespace).Get(t.Context(), "p", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, stored); diff != "" {
		t.Errorf("the answer is not what was stored (-answer +stored):\n%s", diff)
	}
}

func TestSpecAndStatusAreWrittenApart(t *testing.T) {
	s := start(t, apiserver.Extra{})
	tasks := s.Tasks(namespace)
	created, err := tasks.Create(t.Context(), task("a", "box"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}

	both := created.DeepCopy()
	both.Spec.Cancel = true
	both.Labels = map[string]string{"l": "v"}
	both.Status.State = v1alpha1.TaskRunning
	both.Status.Attempts = 1

	afterStatus, err := tasks.UpdateStatus(t.Context(), both.DeepCopy(), metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if afterStatus.Spec.Cancel || afterStatus.Labels != nil || afterStatus.Generation != 1 {
		t.Errorf("a status update changed the spec or metadata: %+v", afterStatus)
	}
	if afterStatus.Status.State != v1alpha1.TaskRunning {
		t.Errorf("state %q, want Running", afterStatus.Status.State)
	}

	both.ResourceVersion = afterStatus.ResourceVersion
	both.Status.State = v1alpha1.TaskFailed
	afterSpec, err := tasks.Update(t.Context(), both.DeepCopy(), metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !afterSpec.Spec.Cancel || afterSpec.Labels["l"] != "v" || afterSpec.Generation != 2 {
		t.Errorf("the spec update was not made, or not counted: %+v", afterSpec)
	}
	if diff := cmp.Diff(afterStatus.Status, afterSpec.Status); diff != "" {
		t.Errorf("a spec update changed the status (-want +got):\n%s", diff)
	}

	afterSpec.Labels["l"] = "w"
	afterLabel, err := tasks.Update(t.Context(), afterSpec, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if afterLabel.Generation != 2 {
		t.Errorf("generation %d after a label was set, want 2", afterLabel.Generation)
	}
}

func TestUpdateErrors(t *testing.T) {
	s := start(t, apiserver.Extra{})
	tasks := s.Tasks(namespace)
	created, err := tasks.Create(t.Context(), task("a", "box"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*v1alpha1.Task)
		want   func(error) bool
	}{
		{name: "no such task", change: func(x *v1alpha1.Task) { x.Name, x.UID, x.ResourceVersion = "b", "", "" }, want: apierrors.IsNotFound},
		{name: "stale", change: func(x *v1alpha1.Task) { x.ResourceVersion = "1000000" }, want: apierrors.IsConflict},
		{name: "another UID", change: func(x *v1alpha1.Task) { x.UID = "other" }, want: apierrors.IsConflict},
		{name: "immutable field", change: func(x *v1alpha1.Task) { x.Spec.SandboxRef = "c" }, want: apierrors.IsInvalid},
		{name: "unconditional", change: func(x *v1alpha1.Task) { x.ResourceVersion = "" }, want: func(err error) bool { return err == nil }},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			changed := created.DeepCopy()
			tc.change(changed)
			if _, err := tasks.Update(t.Context(), changed, metav1.UpdateOptions{}); !tc.want(err) {
				t.Errorf("unexpected error: %v", err)
			}
		})
	}
}

func TestInvalidObjectsNameTheField(t *testing.T) {
	s := start(t, apiserver.Extra{})
	_, err := s.Tasks(namespace).Create(t.Context(), &v1alpha1.Task{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) {
		t.Fatalf("an empty task was answered with: %v", err)
	}
	var status apierrors.APIStatus = err.(apierrors.APIStatus)
	fields := map[string]bool{}
	for _, c := range status.Status().Details.Causes {
		fields[c.Field] = true
	}
	if !fields["spec.steps"] {
		t.Errorf("the causes do not name spec.steps: %v", status.Status().Details.Causes)
	}
}

func TestGenerateName(t *testing.T) {
	s := start(t, apiserver.Extra{})
	in := sandbox("", "p")
	in.GenerateName = "box-"
	names := map[string]bool{}
	for range 3 {
		got, err := s.Sandboxes(namespace).Create(t.Context(), in, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		names[got.Name] = true
	}
	if len(names) != 3 {
		t.Errorf("want three names, got %v", names)
	}
}

func TestWarningsReachTheClient(t *testing.T) {
	s := start(t, apiserver.Extra{})
	warnings := &recorder{}
	c := s.with(t, warnings)
	in := pool("p")
	in.Spec.Replicas, in.Spec.MaxPods = ptr.To[int32](3), ptr.To[int32](2)
	if _, err := c.WarmPools(namespace).Create(t.Context(), in, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	want := []string{"spec.maxPods: 2 leaves no room for the 3 idle pods of spec.replicas"}
	if diff := cmp.Diff(want, warnings.taken()); diff != "" {
		t.Errorf("unexpected warnings (-want +got):\n%s", diff)
	}
	labels := []byte(`{"metadata":{"labels":{"a":"b"}}}`)
	if _, err := c.WarmPools(namespace).Patch(t.Context(), "p", "application/merge-patch+json", labels, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := warnings.taken(); got != nil {
		t.Errorf("who sets a label was warned of the spec: %q", got)
	}
	idle := []byte(`{"spec":{"idleTimeoutSeconds":9}}`)
	if _, err := c.WarmPools(namespace).Patch(t.Context(), "p", "application/merge-patch+json", idle, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := warnings.taken(); got != nil {
		t.Errorf("a warning was repeated at a change that did not bring it: %q", got)
	}
}
