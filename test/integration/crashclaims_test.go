package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

const (
	claimRounds   = 5
	claimReplicas = 3
	claimMaxPods  = 8
	// claimsBeforeKill is how many creates are answered before the kill: more
	// than there are idle pods, so that some wait.
	claimsBeforeKill = 15
)

// claims are what the clients of a server were told before it was killed. It is
// safe for concurrent use.
type claims struct {
	mu sync.Mutex
	// pods are those of the sandboxes that there must be: "" if none was given yet.
	pods map[string]types.UID
	// deleted are the sandboxes that there must not be, and tasks those that there must be.
	deleted, tasks map[string]bool
	created        int
}

// note records what was answered and says how many creates were.
func (c *claims) note(change func()) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	return c.created
}

// TestKillDuringClaims kills the server while sandboxes are created and
// deleted: no pod may be given out twice, or be left over.
func TestKillDuringClaims(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	n := newTenant(t, s)
	pool := hostPool("pool", claimReplicas)
	pool.Spec.MaxPods = ptr.To(int32(claimMaxPods))
	n.FillPool(pool)
	for round := range claimRounds {
		told := n.claimUntilKilled(round)
		s.mustStart(t)
		n.checkClaims(told)
		// All but those of one-shot tasks, which go by themselves.
		made := metav1.ListOptions{LabelSelector: "!arl.io/task"}
		if err := n.Sandboxes().DeleteCollection(t.Context(), deleteNow, made); err != nil {
			t.Fatal(err)
		}
		n.checkOneShots(told)
		n.AwaitPool("pool", claimReplicas)
		n.awaitPods("the idle pods and no others", func(pods map[string]types.UID) bool { return len(pods) == claimReplicas })
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
}

// claimUntilKilled makes and deletes sandboxes, and tasks that need one of their
// own, and kills the server in the midst of that.
func (n *tenant) claimUntilKilled(round int) *claims {
	n.T.Helper()
	told := &claims{pods: map[string]types.UID{}, deleted: map[string]bool{}, tasks: map[string]bool{}}
	enough := make(chan struct{})
	var once sync.Once
	var group errgroup.Group
	for creator := range 4 {
		group.Go(func() error {
			for i := 0; ; i++ {
				count, err := n.claim(told, fmt.Sprintf("c-%d-%d-%d", round, creator, i), i)
				if err != nil {
					return refusedByTheDead(err)
				}
				if count >= claimsBeforeKill {
					once.Do(func() { close(enough) })
				}
			}
		})
	}
	<-enough
	n.server.mustKill(n.T)
	if err := group.Wait(); err != nil {
		n.T.Fatal(err)
	}
	return told
}

// claim makes a sandbox or a one-shot task; each third sandbox is deleted again.
func (n *tenant) claim(told *claims, name string, i int) (count int, err error) {
	if i%4 == 1 {
		task := taskIn("", name, shell("step", "echo "+name))
		task.Spec.PoolRef = "pool"
		if _, err := n.Tasks().Create(n.T.Context(), task, createNow); err != nil {
			return 0, err
		}
		return told.note(func() { told.tasks[name] = true; told.created++ }), nil
	}
	created, err := n.Sandboxes().Create(n.T.Context(), sandboxOf(name, "pool"), createNow)
	if err != nil {
		return 0, err
	}
	count = told.note(func() { told.pods[name] = created.Status.PodUID; told.created++ })
	if i%3 != 0 {
		return count, nil
	}
	// From here on it may be there or not, until the delete is answered.
	told.note(func() { delete(told.pods, name) })
	if err := n.Sandboxes().Delete(n.T.Context(), name, deleteNow); err != nil {
		return 0, err
	}
	return told.note(func() { told.deleted[name] = true }), nil
}

// checkClaims compares what there is after the restart with what clients were told.
func (n *tenant) checkClaims(told *claims) {
	n.T.Helper()
	list, err := n.Sandboxes().List(n.T.Context(), everything)
	if err != nil {
		n.T.Fatal(err)
	}
	missing := maps.Clone(told.pods)
	holders := map[types.UID]string{}
	for _, sandbox := range list.Items {
		pod := sandbox.Status.PodUID
		if was := told.pods[sandbox.Name]; was != "" && was != pod {
			n.T.Errorf("sandbox %s was given pod %s and has %q", sandbox.Name, was, pod)
		}
		if told.deleted[sandbox.Name] {
			n.T.Errorf("sandbox %s is back, though its deletion was acknowledged", sandbox.Name)
		}
		if other, taken := holders[pod]; pod != "" && taken {
			n.T.Errorf("pod %s is that of both %s and %s", pod, other, sandbox.Name)
		}
		if sandbox.Status.Phase == v1alpha1.SandboxFailed {
			n.T.Errorf("sandbox %s has failed: %+v", sandbox.Name, sandbox.Status)
		}
		holders[pod] = sandbox.Name
		delete(missing, sandbox.Name)
	}
	if len(missing) > 0 {
		n.T.Errorf("sandboxes %v were acknowledged and are gone", missing)
	}
}

// checkOneShots waits for the end of the tasks, and of the sandboxes made for them.
func (n *tenant) checkOneShots(told *claims) {
	n.T.Helper()
	for name := range told.tasks {
		done := n.AwaitEnd(name)
		if done.Status.State != v1alpha1.TaskSucceeded || done.Status.Stdout != name+"\n" || done.Status.Attempts != 1 {
			n.T.Errorf("task %s: %s, wrote %q", name, describe(done), done.Status.Stdout)
		}
	}
	n.awaitNoSandboxes()
}

func (n *tenant) awaitNoSandboxes() {
	n.T.Helper()
	eventually(n.T, "no sandboxes", func(ctx context.Context) error {
		left, err := n.Sandboxes().List(ctx, everything)
		if err != nil {
			return err
		}
		var errs []error
		for _, sandbox := range left.Items {
			errs = append(errs, fmt.Errorf("%s is there: %+v", sandbox.Name, sandbox.Status))
		}
		return errors.Join(errs...)
	})
}
