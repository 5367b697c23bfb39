package integration

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// generationPool is a pool whose pods say from which template they were made.
func generationPool(strategy v1alpha1.UpdateStrategyType) *v1alpha1.WarmPool {
	pool := hostPool("pool", 2)
	pool.Spec.UpdateStrategy.Type = strategy
	pool.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "GENERATION", Value: "1"}}
	return pool
}

// setTemplate changes the pool's image and generation.
func (n *tenant) setTemplate(image string, generation int) {
	n.T.Helper()
	patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"executor","image":%q,"env":[{"name":"GENERATION","value":"%d"}]}]}}}}`,
		image, generation)
	if _, err := n.Pools().Patch(n.T.Context(), "pool", types.MergePatchType, []byte(patch), patchNow); err != nil {
		n.T.Fatal(err)
	}
}

// generation is what a sandbox says of the template its pod was made from.
func (n *tenant) generation(sandbox string) string {
	n.T.Helper()
	n.AwaitSandbox(sandbox, v1alpha1.SandboxReady)
	return n.Output(sandbox, `printf "$GENERATION"`)
}

// poolStatus waits until a pool's status is as wanted.
func (n *tenant) poolStatus(name, what string, accept func(*v1alpha1.WarmPool) bool) {
	n.T.Helper()
	eventually(n.T, "pool "+name+" "+what, func(ctx context.Context) error {
		pool, err := n.Pools().Get(ctx, name, getNow)
		if err != nil {
			return err
		}
		if !accept(pool) {
			return fmt.Errorf("status is %+v", pool.Status)
		}
		return nil
	})
}

// updated says whether all idle pods are ready and of the pool's latest template.
func updated(pool *v1alpha1.WarmPool) bool {
	s := pool.Status
	return s.ObservedGeneration == pool.Generation && s.UpdatedReplicas == 2 && s.ReadyReplicas == 2 && s.Replicas == 2
}

func TestPodsFollowTheTemplate(t *testing.T) {
	t.Parallel()
	for _, strategy := range []v1alpha1.UpdateStrategyType{v1alpha1.UpdateRecreate, v1alpha1.UpdateOnReplenish} {
		t.Run(string(strategy), func(t *testing.T) {
			t.Parallel()
			n := newTenant(t, shared(t))
			n.FillPool(generationPool(strategy))
			used := n.CreateSandbox(sandboxOf("used", "pool"))
			n.AwaitPool("pool", 2)
			before := n.pods()

			n.setTemplate("host", 2)
			n.poolStatus("pool", "with new pods", updated)
			n.awaitPods("new pods and the one in use", func(pods map[string]types.UID) bool {
				for name, uid := range pods {
					if before[name] != "" && uid != used.Status.PodUID {
						return false
					}
				}
				return len(pods) == 3 && pods[used.Status.PodName] == used.Status.PodUID
			})
			n.CreateSandbox(sandboxOf("new", "pool"))
			if got := n.generation("new"); got != "2" {
				t.Errorf("a new sandbox is of generation %q, want 2", got)
			}
			if got := n.generation("used"); got != "1" {
				t.Errorf("the sandbox in use is of generation %q, want 1", got)
			}
		})
	}
}

// TestTemplateThatCannotStart tells the strategies apart: one keeps the old pods
// until there are new ones, the other does not.
func TestTemplateThatCannotStart(t *testing.T) {
	t.Parallel()
	const image = "oci-archive:/nowhere/image.tar"
	t.Run("OnReplenish", func(t *testing.T) {
		t.Parallel()
		n := newTenant(t, shared(t))
		n.FillPool(generationPool(v1alpha1.UpdateOnReplenish))
		n.setTemplate(image, 2)
		n.poolStatus("pool", "that tried", failing)
		if sandbox := n.CreateSandbox(sandboxOf("x", "pool")); sandbox.Status.Phase != v1alpha1.SandboxReady {
			t.Errorf("a sandbox is %+v although old pods are idle", sandbox.Status)
		}
		if got := n.generation("x"); got != "1" {
			t.Errorf("the sandbox is of generation %q, want 1", got)
		}
		n.setTemplate("host", 3)
		n.poolStatus("pool", "with new pods", updated)
	})
	t.Run("Recreate", func(t *testing.T) {
		t.Parallel()
		n := newTenant(t, shared(t))
		n.FillPool(generationPool(v1alpha1.UpdateRecreate))
		before := n.pods()
		n.setTemplate(image, 2)
		n.awaitPods("no old pod", func(pods map[string]types.UID) bool {
			for name := range before {
				if pods[name] != "" {
					return false
				}
			}
			return true
		})
		n.CreateSandbox(sandboxOf("x", "pool"))
		n.poolStatus("pool", "that tried", failing)
		n.AwaitSandbox("x", v1alpha1.SandboxPending)
		n.setTemplate("host", 3)
		if got := n.generation("x"); got != "3" {
			t.Errorf("the sandbox is of generation %q, want 3", got)
		}
	})
}

// failing says whether a pool has found that it cannot start pods.
func failing(pool *v1alpha1.WarmPool) bool {
	for _, condition := range pool.Status.Conditions {
		if condition.Type == v1alpha1.WarmPoolConditionReplicaFailure {
			return condition.Status == "True" && condition.ObservedGeneration == pool.Generation
		}
	}
	return false
}

// TestScaledDownPoolLetsPodsGo keeps just as many as are wanted.
func TestScaledDownPoolLetsPodsGo(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.FillPool(hostPool("pool", 3))
	for _, replicas := range []int32{1, 2, 0} {
		scale, err := n.Pools().GetScale(t.Context(), "pool", getNow)
		if err != nil {
			t.Fatal(err)
		}
		scale.Spec.Replicas = replicas
		if _, err := n.Pools().UpdateScale(t.Context(), "pool", scale, updateNow); err != nil {
			t.Fatal(err)
		}
		n.AwaitPool("pool", replicas)
		n.awaitPods(fmt.Sprintf("%d pods", replicas), func(pods map[string]types.UID) bool { return len(pods) == int(replicas) })
	}
}
