package registry

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apiserver"
)

// keeper is told which pools are in use.
type keeper struct {
	mu   sync.Mutex
	uids map[string]types.UID
	// used are the pools in use, retired those of which no pod is given out.
	used, retired map[string]bool
}

func newKeeper() *keeper {
	return &keeper{uids: map[string]types.UID{}, used: map[string]bool{}, retired: map[string]bool{}}
}

func (k *keeper) Retire(pool types.NamespacedName) (types.UID, func(), bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.used[pool.Name] {
		return "", nil, false
	}
	k.retired[pool.Name] = true
	return k.uids[pool.Name], func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.retired, pool.Name)
	}, true
}

// TestAPoolInUseIsKeptUntilItIsReleased deletes pools in every way, used and unused.
func TestAPoolInUseIsKeptUntilItIsReleased(t *testing.T) {
	k := newKeeper()
	s := start(t, apiserver.Extra{Keeper: k})
	pools := s.WarmPools(namespace)
	options := map[string]metav1.DeleteOptions{
		"background": {PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)},
		"foreground": {PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)},
		"orphan":     {PropagationPolicy: ptr.To(metav1.DeletePropagationOrphan)},
		"plain":      {},
	}
	make := func(name string) *v1alpha1.WarmPool {
		t.Helper()
		created, err := pools.Create(t.Context(), pool(name), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{v1alpha1.FinalizerSandboxesInUse}, created.Finalizers); diff != "" {
			t.Errorf("the finalizers of a new pool (-want +got):\n%s", diff)
		}
		k.uids[name] = created.UID
		return created
	}
	for how, opts := range options {
		make("unused-" + how)
		if err := pools.Delete(t.Context(), "unused-"+how, opts); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		if _, err := pools.Get(t.Context(), "unused-"+how, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("%s: after the deletion of an unused pool: %v", how, err)
		}

		make("used-" + how)
		k.used["used-"+how] = true
		if err := pools.Delete(t.Context(), "used-"+how, opts); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		left, err := pools.Get(t.Context(), "used-"+how, metav1.GetOptions{})
		if err != nil || left.DeletionTimestamp == nil {
			t.Fatalf("%s: after the deletion of a used pool: %v, %+v", how, err, left)
		}
		// The garbage collector is not asked to delete what the pool owns.
		if diff := cmp.Diff([]string{v1alpha1.FinalizerSandboxesInUse}, left.Finalizers); diff != "" {
			t.Errorf("%s (-want +got):\n%s", how, diff)
		}
		left.Finalizers = nil
		if _, err := pools.Update(t.Context(), left, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := pools.Get(t.Context(), "used-"+how, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("%s: after the release: %v", how, err)
		}
	}
}

// TestADeletionThatComesToNothingChangesNothing has it refused, tried out, or held up by others.
func TestADeletionThatComesToNothingChangesNothing(t *testing.T) {
	k := newKeeper()
	s := start(t, apiserver.Extra{Keeper: k})
	pools := s.WarmPools(namespace)
	kept := pool("kept")
	kept.Finalizers = []string{"example.com/wait"}
	for _, p := range []*v1alpha1.WarmPool{pool("p"), kept} {
		created, err := pools.Create(t.Context(), p, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		k.uids[p.Name] = created.UID
	}
	err := pools.Delete(t.Context(), "p", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: ptr.To("1")}})
	if !apierrors.IsConflict(err) {
		t.Errorf("a precondition that does not hold: %v", err)
	}
	if err := pools.Delete(t.Context(), "p", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Error(err)
	}
	if err := pools.Delete(t.Context(), "kept", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if err := pools.Delete(t.Context(), "missing", metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a missing pool: %v", err)
	}
	if len(k.retired) > 0 {
		t.Errorf("retired are %v", k.retired)
	}
	got, err := pools.Get(t.Context(), "kept", metav1.GetOptions{})
	if err != nil || got.DeletionTimestamp == nil || len(got.Finalizers) != 2 {
		t.Errorf("a pool with another finalizer: %v, %+v", err, got)
	}
}

// TestGeneratedPoolNamesFit the limit of a pool's name, however long their base is.
func TestGeneratedPoolNamesFit(t *testing.T) {
	s := start(t, apiserver.Extra{})
	for _, base := range []string{"short-", strings.Repeat("a", 52) + "-", strings.Repeat("b", 200)} {
		p := pool("")
		p.GenerateName = base
		created, err := s.WarmPools(namespace).Create(t.Context(), p, metav1.CreateOptions{})
		if err != nil {
			t.Errorf("base of %d characters: %v", len(base), err)
			continue
		}
		if len(created.Name) > 52 || !strings.HasPrefix(created.Name, base[:min(len(base), 47)]) {
			t.Errorf("base %q became %q", base, created.Name)
		}
	}
}
