package sandbox

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"arl.io/arl/pkg/apis/arl"
)

var errDown = errors.New("storage is down")

var (
	bound    = outcome{Pod: "pod-1", Stored: true}
	returned = outcome{Pod: "pod-1"}
)

func TestCreate(t *testing.T) {
	tests := []struct {
		name         string
		idle         int
		storage      fakeStorage
		wantErr      error
		wantExists   bool
		wantPhase    arl.SandboxPhase
		wantPod      string
		wantOutcomes []outcome
	}{
		{name: "no pod is free", wantPhase: arl.SandboxPending},
		{name: "a pod is free", idle: 1, wantPhase: arl.SandboxReady, wantPod: "pod-1", wantOutcomes: []outcome{bound}},
		{
			name: "the name is taken", idle: 1, storage: fakeStorage{stored: newSandbox("a", "other")},
			wantExists: true, wantOutcomes: []outcome{returned},
		},
		{
			name: "the write fails", idle: 1, storage: fakeStorage{createErr: errDown},
			wantErr: errDown, wantOutcomes: []outcome{returned},
		},
		{
			name: "the write succeeds and the answer is lost", idle: 1, storage: fakeStorage{createErr: errDown, written: true},
			wantPhase: arl.SandboxReady, wantPod: "pod-1", wantOutcomes: []outcome{bound},
		},
		{
			name: "nobody can tell", idle: 1, storage: fakeStorage{createErr: errDown, getErr: errDown},
			wantErr: errDown, wantOutcomes: []outcome{bound},
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			allocator := &fakeAllocator{t: t, idle: tc.idle}
			s := &reservingStorage{Interface: &tc.storage, allocator: allocator}
			obj, out := newSandbox("a", "uid"), &arl.Sandbox{}
			err := s.Create(t.Context(), "/a", obj, out, 0)
			if tc.wantExists != storage.IsExist(err) || (!tc.wantExists && !errors.Is(err, tc.wantErr)) {
				t.Fatalf("error %v, want %v (exists: %v)", err, tc.wantErr, tc.wantExists)
			}
			if out.Status.Phase != tc.wantPhase || out.Status.PodName != tc.wantPod {
				t.Errorf("answered phase %q and pod %q, want %q and %q", out.Status.Phase, out.Status.PodName, tc.wantPhase, tc.wantPod)
			}
			if diff := cmp.Diff(tc.wantOutcomes, allocator.outcomes); diff != "" {
				t.Errorf("unexpected outcomes of reservations (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(newSandbox("a", "uid"), obj); diff != "" {
				t.Errorf("the caller's object was changed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCreatePanicGivesThePodBack(t *testing.T) {
	allocator := &fakeAllocator{t: t, idle: 1}
	s := &reservingStorage{Interface: &fakeStorage{panics: true}, allocator: allocator}
	defer func() {
		if recover() == nil {
			t.Error("the panic was swallowed")
		}
		if diff := cmp.Diff([]outcome{returned}, allocator.outcomes); diff != "" {
			t.Errorf("unexpected outcomes of reservations (-want +got):\n%s", diff)
		}
	}()
	_ = s.Create(t.Context(), "/a", newSandbox("a", "uid"), &arl.Sandbox{}, 0)
}

func TestCreateOutlivesItsClientOnceAPodIsTaken(t *testing.T) {
	tests := []struct {
		name         string
		idle         int
		wantErr      error
		wantOutcomes []outcome
	}{
		{name: "pod taken", idle: 1, wantOutcomes: []outcome{bound}},
		{name: "no pod taken", wantErr: context.Canceled},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			allocator := &fakeAllocator{t: t, idle: tc.idle}
			s := &reservingStorage{Interface: &fakeStorage{}, allocator: allocator}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := s.Create(ctx, "/a", newSandbox("a", "uid"), &arl.Sandbox{}, 0); !errors.Is(err, tc.wantErr) {
				t.Fatalf("error %v, want %v", err, tc.wantErr)
			}
			if diff := cmp.Diff(tc.wantOutcomes, allocator.outcomes); diff != "" {
				t.Errorf("unexpected outcomes of reservations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGuaranteedUpdate(t *testing.T) {
	stored := newSandbox("a", "stored")
	stored.ResourceVersion = "3"
	refuse := func(runtime.Object, storage.ResponseMeta) (runtime.Object, *uint64, error) { return nil, nil, errDown }
	apply := func(existing runtime.Object, _ storage.ResponseMeta) (runtime.Object, *uint64, error) {
		if box := existing.(*arl.Sandbox); box.ResourceVersion != "" {
			return box, nil, nil
		}
		return newSandbox("a", "uid"), nil, nil
	}
	tests := []struct {
		name         string
		storage      fakeStorage
		try          storage.UpdateFunc
		wantErr      error
		wantTries    int
		wantPhase    arl.SandboxPhase
		wantOutcomes []outcome
	}{
		{name: "creates", try: apply, wantTries: 1, wantPhase: arl.SandboxReady, wantOutcomes: []outcome{bound}},
		{name: "updates", storage: fakeStorage{stored: stored}, try: apply, wantTries: 1, wantPhase: arl.SandboxPending},
		{name: "refused", try: refuse, wantErr: errDown, wantTries: 1},
		{
			name: "somebody else creates it first", storage: fakeStorage{rival: stored}, try: apply,
			wantTries: 2, wantPhase: arl.SandboxPending, wantOutcomes: []outcome{returned},
		},
		{
			name: "somebody else creates and deletes it first", storage: fakeStorage{rival: &arl.Sandbox{}}, try: apply,
			wantTries: 2, wantPhase: arl.SandboxReady,
			wantOutcomes: []outcome{returned, {Pod: "pod-2", Stored: true}},
		},
		{
			name: "the write fails", storage: fakeStorage{createErr: errDown}, try: apply,
			wantErr: errDown, wantTries: 1, wantOutcomes: []outcome{returned},
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			allocator := &fakeAllocator{t: t, idle: 1}
			s := &reservingStorage{Interface: &tc.storage, allocator: allocator}
			out := &arl.Sandbox{}
			err := s.GuaranteedUpdate(t.Context(), "/a", out, true, nil, tc.try, nil)
			if !errors.Is(err, tc.wantErr) {
				t.Fatalf("error %v, want %v", err, tc.wantErr)
			}
			if out.Status.Phase != tc.wantPhase {
				t.Errorf("answered phase %q, want %q", out.Status.Phase, tc.wantPhase)
			}
			if tc.storage.tries != tc.wantTries {
				t.Errorf("%d tries, want %d", tc.storage.tries, tc.wantTries)
			}
			if diff := cmp.Diff(tc.wantOutcomes, allocator.outcomes); diff != "" {
				t.Errorf("unexpected outcomes of reservations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUpdateThatCannotCreateAsksForNoPod(t *testing.T) {
	allocator := &fakeAllocator{t: t, idle: 1}
	s := &reservingStorage{Interface: &fakeStorage{}, allocator: allocator}
	try := func(runtime.Object, storage.ResponseMeta) (runtime.Object, *uint64, error) {
		return newSandbox("a", "uid"), nil, nil
	}
	if err := s.GuaranteedUpdate(t.Context(), "/a", &arl.Sandbox{}, false, nil, try, nil); err != nil {
		t.Fatal(err)
	}
	if allocator.reserved != 0 {
		t.Errorf("%d pods were reserved", allocator.reserved)
	}
}

var _ Allocator = (*fakeAllocator)(nil)
