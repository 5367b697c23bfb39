package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/e2e/cluster"
)

// withoutPolicy takes the policy away that reserves the labels of pools' pods, for the test.
func withoutPolicy(t *testing.T) {
	t.Helper()
	bindings := clientOf(t, cluster.Admin).AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	binding, err := bindings.Get(t.Context(), "arl-pool-pods", getNow)
	if err != nil {
		t.Fatal(err)
	}
	if err := bindings.Delete(t.Context(), binding.Name, deleteNow); err != nil {
		t.Fatal(err)
	}
	cleanUp(t, func(ctx context.Context) error {
		binding.ResourceVersion, binding.UID = "", ""
		_, err := bindings.Create(ctx, binding, createNow)
		return err
	})
}

// forge creates a copy of a pool's pod as the tenant's user, who may create pods, and returns it once it
// runs like the original: with an agent of its own, in the pod of someone else.
func (n *tenant) forge(genuine *corev1.Pod, name string) (forged *corev1.Pod) {
	n.T.Helper()
	pods := n.core.CoreV1().Pods(n.Namespace)
	copied := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: genuine.Labels, Annotations: genuine.Annotations, OwnerReferences: genuine.OwnerReferences},
		Spec:       *genuine.Spec.DeepCopy(),
	}
	eventually(n.T, "a copy of the pod is created", func(ctx context.Context) (err error) {
		forged, err = pods.Create(ctx, copied, createNow)
		return err
	})
	return forged
}

// TestForgedIdlePods has a user who may create pods offer copies of a pool's idle pod, without the policy
// that would refuse them: one beside it, and one in its place and under its name while the server is
// away. No sandbox gets them, and they are deleted.
func TestForgedIdlePods(t *testing.T) {
	n := newTenant(t)
	n.FillPool(busyPool("target", 1))
	withoutPolicy(t)
	genuine := n.poolPods("target")[0]
	t.Run("another name", func(t *testing.T) {
		n := n.in(t)
		forged := n.forge(&genuine, "target-forged")
		n.awaitNoPod(forged)
		if sandbox := n.ReadySandbox("box", "target"); sandbox.Status.PodUID == forged.UID {
			t.Error("a sandbox has the forged pod")
		}
	})
	t.Run("the same name, the server away", func(t *testing.T) {
		n := n.in(t)
		n.AwaitPool("target", 1)
		idle := n.idlePod("target")
		scaleServer(t, 0)
		defer scaleServer(t, 1)
		if err := n.core.CoreV1().Pods(n.Namespace).Delete(t.Context(), idle.Name, deleteNow); err != nil {
			t.Fatal(err)
		}
		n.awaitNoPod(idle)
		forged := n.forge(idle, idle.Name)
		awaitReadyPod(t, n.core, n.Namespace, forged.Name)
		scaleServer(t, 1)
		awaitServed(t)
		n.CreateSandbox(sandboxOf("box-2", "target")) // the pool has no other idle pod now
		if sandbox := n.AwaitSandbox("box-2", v1alpha1.SandboxReady); sandbox.Status.PodUID == forged.UID {
			t.Error("a sandbox has the forged pod")
		}
		n.Output("box-2", "true")
		n.awaitNoPod(forged)
		n.Output("box", "true") // pods in use are known across the restart
	})
}

// idlePod returns a pod of a pool that no sandbox has.
func (n *tenant) idlePod(pool string) *corev1.Pod {
	n.T.Helper()
	used := map[string]bool{}
	list, err := n.Sandboxes().List(n.T.Context(), everything)
	if err != nil {
		n.T.Fatal(err)
	}
	for i := range list.Items {
		used[list.Items[i].Status.PodName] = true
	}
	for _, pod := range n.poolPods(pool) {
		if !used[pod.Name] {
			return &pod
		}
	}
	n.T.Fatal("the pool has no idle pod")
	return nil
}

// TestPodSecurityWarnings: who creates a pool whose pods the namespace will refuse learns it at once.
func TestPodSecurityWarnings(t *testing.T) {
	n := newTenant(t)
	if _, err := shared.Kubectl(t.Context(), cluster.Admin, "label", "namespace", n.Namespace, "pod-security.kubernetes.io/enforce=restricted"); err != nil {
		t.Fatal(err)
	}
	manifest := func(security string) string {
		return fmt.Sprintf(`{apiVersion: arl.io/v1alpha1, kind: WarmPool, metadata: {name: strict}, spec: {replicas: 1, template: {spec: {%s
			containers: [{name: executor, image: %q, imagePullPolicy: Never}]}}}}`, security, testImage)
	}
	k := n.kubectl()
	eventually(t, "the warning is there", func(context.Context) error {
		got := k.Try(manifest(""), "create", "--dry-run=server", "-f", "-")
		for _, word := range []string{"Warning: ", `enforces PodSecurity "restricted:latest"`, "runAsNonRoot"} {
			if got.Code != 0 || !strings.Contains(got.Stderr, word) {
				return fmt.Errorf("kubectl says %+v", got)
			}
		}
		return nil
	})
	got := k.Try(manifest("securityContext: {runAsNonRoot: true, runAsUser: 1000},"), "create", "-f", "-")
	if got.Code != 0 || strings.Contains(got.Stderr, "Warning") {
		t.Errorf("a pool whose pods are accepted: %+v", got)
	}
	n.AwaitPool("strict", 1)
}
