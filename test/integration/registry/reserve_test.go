package registry

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apiserver"
	apply "arl.io/arl/pkg/generated/applyconfiguration/arl/v1alpha1"
)

// allocator gives out pods in the order they came free.
type allocator struct {
	mu      sync.Mutex
	idle    []string
	asked   int
	boundTo map[string]string // pod to sandbox
}

func newAllocator(pods int) *allocator {
	a := &allocator{boundTo: map[string]string{}}
	for i := range pods {
		a.idle = append(a.idle, fmt.Sprintf("pod-%d", i))
	}
	return a
}

// Reserve implements the registry's Allocator.
func (a *allocator) Reserve(_ context.Context, box *v1alpha1.Sandbox) (*v1alpha1.SandboxStatus, func(bool)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	if len(a.idle) == 0 {
		return nil, nil
	}
	pod := a.idle[0]
	a.idle = a.idle[1:]
	status := &v1alpha1.SandboxStatus{
		ObservedGeneration: box.Generation, Phase: v1alpha1.SandboxReady, PodName: pod, Reason: v1alpha1.SandboxReasonPodAllocated,
	}
	name := box.Name
	return status, func(stored bool) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if !stored {
			a.idle = append(a.idle, pod)
			return
		}
		a.boundTo[pod] = name
	}
}

func TestCreateIsReadyAtOnce(t *testing.T) {
	tests := []struct {
		name   string
		create func(context.Context, *server) (*v1alpha1.Sandbox, error)
	}{
		{name: "by create", create: func(ctx context.Context, s *server) (*v1alpha1.Sandbox, error) {
			return s.Sandboxes(namespace).Create(ctx, sandbox("a", "p"), metav1.CreateOptions{})
		}},
		{name: "by server-side apply", create: func(ctx context.Context, s *server) (*v1alpha1.Sandbox, error) {
			in := apply.Sandbox("a", namespace).WithSpec(apply.SandboxSpec().WithPoolRef("p"))
			return s.Sandboxes(namespace).Apply(ctx, in, metav1.ApplyOptions{FieldManager: "author"})
		}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			pods := newAllocator(1)
			s := start(t, apiserver.Extra{Allocator: pods})
			got, err := tc.create(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			want := v1alpha1.SandboxStatus{
				ObservedGeneration: 1, Phase: v1alpha1.SandboxReady, PodName: "pod-0", Reason: v1alpha1.SandboxReasonPodAllocated,
			}
			if diff := cmp.Diff(want, got.Status); diff != "" {
				t.Errorf("unexpected status in the answer (-want +got):\n%s", diff)
			}
			stored, err := s.Sandboxes(namespace).Get(t.Context(), "a", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, stored); diff != "" {
				t.Errorf("the answer is not what was stored (-answer +stored):\n%s", diff)
			}
			if pods.boundTo["pod-0"] != "a" {
				t.Errorf("the allocator has %v", pods.boundTo)
			}
		})
	}
}

// TestNoPodIsLost makes every kind of create that stores nothing, and wants
// the only pod to be free after each.
func TestNoPodIsLost(t *testing.T) {
	pods := newAllocator(1)
	s := start(t, apiserver.Extra{Allocator: pods})
	boxes := s.Sandboxes(namespace)
	pods.mu.Lock()
	pods.idle = nil
	pods.mu.Unlock()
	if _, err := boxes.Create(t.Context(), sandbox("taken", "p"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name      string
		in        *v1alpha1.Sandbox
		options   metav1.CreateOptions
		want      func(error) bool
		wantAsked int
	}{
		{name: "dry run", in: sandbox("a", "p"), options: metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}},
			want: func(err error) bool { return err == nil }},
		{name: "invalid", in: sandbox("a", "Not A Name"), want: apierrors.IsInvalid},
		{name: "name taken", in: sandbox("taken", "p"), want: apierrors.IsAlreadyExists, wantAsked: 1},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			pods.mu.Lock()
			pods.idle, pods.asked = []string{"pod-0"}, 0
			pods.mu.Unlock()
			if _, err := boxes.Create(t.Context(), tc.in, tc.options); !tc.want(err) {
				t.Errorf("unexpected error: %v", err)
			}
			pods.mu.Lock()
			defer pods.mu.Unlock()
			if len(pods.idle) != 1 || pods.asked != tc.wantAsked {
				t.Errorf("%d pods idle after %d requests, want 1 after %d", len(pods.idle), pods.asked, tc.wantAsked)
			}
		})
	}
}

// TestManyCreatesAtOnce wants fifty pods and two hundred sandboxes to make
// fifty pairs and no more.
func TestManyCreatesAtOnce(t *testing.T) {
	const podCount, boxCount = 50, 200
	pods := newAllocator(podCount)
	s := start(t, apiserver.Extra{Allocator: pods})
	var (
		mu      sync.Mutex
		podOf   = map[string]string{}
		pending int
	)
	group, ctx := errgroup.WithContext(t.Context())
	for i := range boxCount {
		group.Go(func() error {
			got, err := s.Sandboxes(namespace).Create(ctx, sandbox(fmt.Sprintf("box-%d", i), "p"), metav1.CreateOptions{})
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case got.Status.Phase == v1alpha1.SandboxPending:
				pending++
			case podOf[got.Status.PodName] != "":
				return fmt.Errorf("%s was given to %s and %s", got.Status.PodName, podOf[got.Status.PodName], got.Name)
			default:
				podOf[got.Status.PodName] = got.Name
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(podOf) != podCount || pending != boxCount-podCount {
		t.Errorf("%d bound and %d pending, want %d and %d", len(podOf), pending, podCount, boxCount-podCount)
	}
	if diff := cmp.Diff(podOf, pods.boundTo); diff != "" {
		t.Errorf("the allocator's pairs are others than the clients' (-clients +allocator):\n%s", diff)
	}
}
