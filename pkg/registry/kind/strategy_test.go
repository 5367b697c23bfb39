package kind

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"arl.io/arl/pkg/apis/arl"
)

var epoch = metav1.NewTime(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))

func sandboxDefinition() *Definition[*arl.Sandbox, arl.SandboxSpec, arl.SandboxStatus] {
	fail := func(name string) field.ErrorList {
		return field.ErrorList{field.Forbidden(field.NewPath(name), "no")}
	}
	return &Definition[*arl.Sandbox, arl.SandboxSpec, arl.SandboxStatus]{
		Resource: "sandboxes",
		Singular: "sandbox",
		New:      func() *arl.Sandbox { return &arl.Sandbox{} },
		NewList:  func() runtime.Object { return &arl.SandboxList{} },
		Spec:     func(s *arl.Sandbox) *arl.SandboxSpec { return &s.Spec },
		Status:   func(s *arl.Sandbox) *arl.SandboxStatus { return &s.Status },
		InitialStatus: func(s *arl.Sandbox) arl.SandboxStatus {
			return arl.SandboxStatus{Phase: arl.SandboxPending, Conditions: Unobserved(s, "Ready", metav1.ConditionFalse)}
		},
		Validate:             func(*arl.Sandbox) field.ErrorList { return fail("create") },
		ValidateUpdate:       func(_, _ *arl.Sandbox) field.ErrorList { return fail("update") },
		ValidateStatusUpdate: func(_, _ *arl.Sandbox) field.ErrorList { return fail("status") },
		Warnings:             warnings,
		Fields:               []Field[*arl.Sandbox]{{Path: "spec.poolRef", Value: func(s *arl.Sandbox) string { return s.Spec.PoolRef }}},
	}
}

func warnings(s *arl.Sandbox) []string {
	out := []string{"pool " + s.Spec.PoolRef}
	if s.Spec.KeepAlive {
		out = append(out, "keepAlive")
	}
	return out
}

func TestPrepareForCreateSetsTheStatus(t *testing.T) {
	s := newStrategy(sandboxDefinition(), nil)
	got := &arl.Sandbox{
		ObjectMeta: metav1.ObjectMeta{Name: "a", CreationTimestamp: epoch, Generation: 7},
		Spec:       arl.SandboxSpec{PoolRef: "p"},
		Status:     arl.SandboxStatus{Phase: arl.SandboxReady, PodName: "stolen"},
	}
	s.PrepareForCreate(t.Context(), got)
	want := &arl.Sandbox{
		ObjectMeta: metav1.ObjectMeta{Name: "a", CreationTimestamp: epoch, Generation: 1},
		Spec:       arl.SandboxSpec{PoolRef: "p"},
		Status: arl.SandboxStatus{
			Phase: arl.SandboxPending,
			Conditions: []metav1.Condition{{
				Type: "Ready", Status: metav1.ConditionFalse,
				LastTransitionTime: epoch, Reason: ReasonPending, Message: "The scheduler has not looked at it yet.",
			}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("unexpected object (-want +got):\n%s", diff)
	}
}

func TestPrepareForUpdate(t *testing.T) {
	old := &arl.Sandbox{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Generation: 3, Labels: map[string]string{"l": "old"}},
		Spec:       arl.SandboxSpec{PoolRef: "p", Env: map[string]string{"A": "1"}},
		Status:     arl.SandboxStatus{Phase: arl.SandboxReady, PodName: "pod"},
	}
	tests := []struct {
		name           string
		change         func(*arl.Sandbox)
		wantGeneration int64
		wantWarnings   []string
	}{
		{name: "nothing", change: func(*arl.Sandbox) {}, wantGeneration: 3},
		{name: "metadata", change: func(s *arl.Sandbox) { s.Labels = map[string]string{"l": "new"} }, wantGeneration: 3},
		{name: "status is ignored", change: func(s *arl.Sandbox) { s.Status.PodName = "other" }, wantGeneration: 3},
		{name: "nil and empty are the same", change: func(s *arl.Sandbox) { s.Spec.Resources = nil }, wantGeneration: 3},
		{name: "scalar in spec", change: func(s *arl.Sandbox) { s.Spec.KeepAlive = true }, wantGeneration: 4, wantWarnings: []string{"keepAlive"}},
		{name: "map in spec", change: func(s *arl.Sandbox) { s.Spec.Env = map[string]string{"A": "2"} }, wantGeneration: 4},
		{name: "pointer in spec", change: func(s *arl.Sandbox) { s.Spec.IdleTimeoutSeconds = ptr.To[int32](9) }, wantGeneration: 4},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			s := newStrategy(sandboxDefinition(), nil)
			obj := old.DeepCopy()
			tc.change(obj)
			s.PrepareForUpdate(t.Context(), obj, old)
			if obj.Generation != tc.wantGeneration {
				t.Errorf("generation %d, want %d", obj.Generation, tc.wantGeneration)
			}
			if diff := cmp.Diff(old.Status, obj.Status); diff != "" {
				t.Errorf("status changed (-old +new):\n%s", diff)
			}
			if diff := cmp.Diff(tc.wantWarnings, s.WarningsOnUpdate(t.Context(), obj, old), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("unexpected warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStatusPrepareForUpdateKeepsTheRest(t *testing.T) {
	managed := []metav1.ManagedFieldsEntry{{Manager: "scheduler"}}
	old := &arl.Sandbox{
		ObjectMeta: metav1.ObjectMeta{
			Name: "a", Generation: 3, ResourceVersion: "5",
			Labels: map[string]string{"l": "old"}, Annotations: map[string]string{"a": "old"},
			Finalizers: []string{"f"}, OwnerReferences: []metav1.OwnerReference{{Name: "o"}},
		},
		Spec:   arl.SandboxSpec{PoolRef: "p"},
		Status: arl.SandboxStatus{Phase: arl.SandboxPending},
	}
	got := &arl.Sandbox{
		ObjectMeta: metav1.ObjectMeta{
			Name: "a", Generation: 3, ResourceVersion: "5", ManagedFields: managed,
			Labels: map[string]string{"l": "new"}, DeletionTimestamp: &epoch,
		},
		Spec:   arl.SandboxSpec{PoolRef: "other", KeepAlive: true},
		Status: arl.SandboxStatus{Phase: arl.SandboxReady, PodName: "pod"},
	}
	s := statusStrategy[*arl.Sandbox, arl.SandboxSpec, arl.SandboxStatus]{newStrategy(sandboxDefinition(), nil)}
	s.PrepareForUpdate(t.Context(), got, old)

	want := old.DeepCopy()
	want.ManagedFields = managed
	want.Status = arl.SandboxStatus{Phase: arl.SandboxReady, PodName: "pod"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("unexpected object (-want +got):\n%s", diff)
	}
	if w := s.WarningsOnUpdate(t.Context(), got, old); w != nil {
		t.Errorf("a status update warned: %q", w)
	}
}

func TestValidationIsTheKinds(t *testing.T) {
	main := newStrategy(sandboxDefinition(), nil)
	status := statusStrategy[*arl.Sandbox, arl.SandboxSpec, arl.SandboxStatus]{main}
	obj := &arl.Sandbox{}
	for want, got := range map[string]field.ErrorList{
		"create": main.Validate(t.Context(), obj),
		"update": main.ValidateUpdate(t.Context(), obj, obj),
		"status": status.ValidateUpdate(t.Context(), obj, obj),
	} {
		if len(got) != 1 || got[0].Field != want {
			t.Errorf("want the errors of %q, got %v", want, got)
		}
	}
}

func TestResetFields(t *testing.T) {
	main := newStrategy(sandboxDefinition(), nil)
	status := statusStrategy[*arl.Sandbox, arl.SandboxSpec, arl.SandboxStatus]{main}
	tests := []struct {
		name  string
		got   map[fieldpath.APIVersion]*fieldpath.Set
		reset []fieldpath.Path
		keep  []fieldpath.Path
	}{
		{
			name: "main", got: main.GetResetFields(),
			reset: []fieldpath.Path{fieldpath.MakePathOrDie("status")},
			keep:  []fieldpath.Path{fieldpath.MakePathOrDie("spec"), fieldpath.MakePathOrDie("metadata")},
		},
		{
			name: "status", got: status.GetResetFields(),
			reset: []fieldpath.Path{fieldpath.MakePathOrDie("spec"), fieldpath.MakePathOrDie("metadata")},
			keep:  []fieldpath.Path{fieldpath.MakePathOrDie("status")},
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			set, ok := tc.got["arl.io/v1alpha1"]
			if !ok {
				t.Fatalf("no reset fields for arl.io/v1alpha1 in %v", tc.got)
			}
			for _, p := range tc.reset {
				if !set.Has(p) {
					t.Errorf("%s is not reset", p)
				}
			}
			for _, p := range tc.keep {
				if set.Has(p) {
					t.Errorf("%s is reset", p)
				}
			}
		})
	}
}

// TestTheFinalizerStaysUntilTheObjectIsDeleted whoever replaces the object by a manifest without it.
func TestTheFinalizerStaysUntilTheObjectIsDeleted(t *testing.T) {
	const ours, theirs = "arl.io/keep", "example.com/keep"
	def := sandboxDefinition()
	def.Finalizer = ours
	s := newStrategy(def, nil)
	created := &arl.Sandbox{ObjectMeta: metav1.ObjectMeta{Finalizers: []string{theirs}}}
	s.PrepareForCreate(t.Context(), created)
	want := []string{theirs, ours}
	if diff := cmp.Diff(want, created.Finalizers); diff != "" {
		t.Errorf("created (-want +got):\n%s", diff)
	}
	replaced := &arl.Sandbox{}
	s.PrepareForUpdate(t.Context(), replaced, created)
	if diff := cmp.Diff([]string{ours}, replaced.Finalizers); diff != "" {
		t.Errorf("replaced (-want +got):\n%s", diff)
	}
	old := &arl.Sandbox{}
	older := &arl.Sandbox{}
	statusStrategy[*arl.Sandbox, arl.SandboxSpec, arl.SandboxStatus]{s}.PrepareForUpdate(t.Context(), older, old)
	if diff := cmp.Diff([]string{ours}, older.Finalizers); diff != "" {
		t.Errorf("older than the finalizer (-want +got):\n%s", diff)
	}
	deleted := created.DeepCopy()
	deleted.DeletionTimestamp = &epoch
	released := deleted.DeepCopy()
	released.Finalizers = nil
	s.PrepareForUpdate(t.Context(), released, deleted)
	if len(released.Finalizers) > 0 {
		t.Errorf("released with %v", released.Finalizers)
	}
}

func TestWhatTheGarbageCollectorIsAskedFor(t *testing.T) {
	def := sandboxDefinition()
	if got := newStrategy(def, nil).DefaultGarbageCollectionPolicy(t.Context()); got != rest.DeleteDependents {
		t.Errorf("by default: %v", got)
	}
	def.CascadesItself = true
	if got := newStrategy(def, nil).DefaultGarbageCollectionPolicy(t.Context()); got != rest.Unsupported {
		t.Errorf("for a kind that cascades itself: %v", got)
	}
}

// Where no garbage collector runs, whoever sets an owner is warned, once for each change of it.
func TestOwnersWithoutAGarbageCollectorWarn(t *testing.T) {
	owned := &arl.Sandbox{ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{Name: "o", UID: "1"}}}}
	other := owned.DeepCopy()
	other.OwnerReferences[0].UID = "2"
	free := &arl.Sandbox{}
	for _, keeps := range []bool{false, true} {
		s := newStrategy(sandboxDefinition(), nil)
		s.keepsDependents = keeps
		for _, tt := range []struct {
			name     string
			warnings []string
			want     bool
		}{
			{"created with an owner", s.WarningsOnCreate(t.Context(), owned), keeps},
			{"created without", s.WarningsOnCreate(t.Context(), free), false},
			{"an owner is added", s.WarningsOnUpdate(t.Context(), owned, free), keeps},
			{"another owner", s.WarningsOnUpdate(t.Context(), other, owned), keeps},
			{"the same owner", s.WarningsOnUpdate(t.Context(), owned, owned), false},
			{"an owner is removed", s.WarningsOnUpdate(t.Context(), free, owned), false},
		} {
			if got := slices.Contains(tt.warnings, dependentStays); got != tt.want {
				t.Errorf("%s, with keepsDependents %v: warnings %q", tt.name, keeps, tt.warnings)
			}
		}
	}
	if len(dependentStays) > 120 {
		t.Errorf("the warning has %d characters, of at most 120", len(dependentStays))
	}
}
